use std::fs::Permissions;
use std::fs::{create_dir, create_dir_all, remove_dir};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{Uid, set_thread_res_uid};

use super::*;

/// Any folder behaves as the hierarchy's does, but for its numbers of links.
fn tree(folders: &[&str]) -> (tempfile::TempDir, Tree) {
    // In memory, where there is such a place: folders are made by the thousands.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    folders.iter().for_each(|folder| create_dir_all(root.path().join(folder)).expect("made"));
    let tree = Tree::new(root.path().to_owned());
    (root, tree)
}

fn walk(tree: &mut Tree) -> Vec<Change> {
    let mut changes = Vec::new();
    tree.walk(&mut |change| changes.push(change));
    changes
}

/// Changes as they are told, until there are so many.
fn hear(tree: &mut Tree, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        let heard = tree.heard().expect("inotify");
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::from_borrowed_fd(heard, PollFlags::IN)], Some(&patience)), Ok(1), "{changes:?}");
        tree.hear(&mut |change| changes.push(change));
    }
    changes
}

fn paths(changes: &[Change]) -> Vec<&str> {
    let mut paths: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Came { path, .. } => Some(&**path),
            Change::Went(_) => None,
        })
        .collect();
    paths.sort_unstable();
    paths
}

#[test]
fn a_walk_finds_all() {
    let (root, mut tree) = tree(&["a.slice/b.service", "a.slice/c.scope/d"]);
    std::fs::write(root.path().join("a.slice/cgroup.procs"), "").expect("written");
    std::os::unix::fs::symlink("/", root.path().join("a.slice/everything")).expect("linked");
    let changes = walk(&mut tree);
    assert_eq!(paths(&changes), ["/a.slice", "/a.slice/b.service", "/a.slice/c.scope", "/a.slice/c.scope/d"]);
    let inode = std::fs::metadata(root.path().join("a.slice/b.service")).expect("there").ino();
    assert!(
        changes
            .iter()
            .any(|it| matches!(it, Change::Came { id, path, .. } if *id == inode && path.ends_with("b.service")))
    );
    assert_eq!(walk(&mut tree), [], "nothing new");
    assert!(!tree.is_deaf());
}

#[test]
fn folders_that_come_and_go_are_heard_of() {
    let (root, mut tree) = tree(&["a.slice"]);
    walk(&mut tree);
    // What is below is there before the first is heard of.
    create_dir_all(root.path().join("a.slice/b.service/c")).expect("made");
    create_dir(root.path().join("d.scope")).expect("made");
    let came = hear(&mut tree, 3);
    assert_eq!(paths(&came), ["/a.slice/b.service", "/a.slice/b.service/c", "/d.scope"]);
    remove_dir(root.path().join("a.slice/b.service/c")).expect("removed");
    remove_dir(root.path().join("a.slice/b.service")).expect("removed");
    let went = hear(&mut tree, 2);
    assert!(went.iter().all(|change| matches!(change, Change::Went(_))), "{went:?}");
    create_dir(root.path().join("a.slice/b.service")).expect("made");
    assert_eq!(paths(&hear(&mut tree, 1)), ["/a.slice/b.service"], "again, with another id");
    assert_eq!((tree.len(), tree.names.len(), tree.watches.len()), (3, 3, 4));
}

#[test]
fn what_was_missed_is_found_by_the_next_walk() {
    let (root, mut tree) = tree(&["a", "b"]);
    walk(&mut tree);
    tree.inotify = None;
    assert!(tree.is_deaf());
    remove_dir(root.path().join("a")).expect("removed");
    create_dir(root.path().join("c")).expect("made");
    let changes = walk(&mut tree);
    assert_eq!((changes.len(), paths(&changes)), (2, vec!["/c"]), "even where its number is that of the one that went");
    assert_eq!((tree.len(), tree.names.len()), (2, 2));
}

#[test]
fn it_is_bounded() {
    let (root, mut tree) = tree(&["a", "b", "c"]);
    tree.most = 2;
    assert_eq!(walk(&mut tree).len(), 2);
    assert!(tree.is_deaf(), "so it is walked again");
    let deep = root.path().join(vec!["x"; 2 * DEEPEST].join("/"));
    create_dir_all(deep).expect("made");
    tree.most = 1000;
    assert_eq!(walk(&mut tree).len(), 1 + DEEPEST);
}

/// The queue is as long as the kernel allows by default (`fs.inotify.max_queued_events`); here it overflows.
#[test]
fn an_overflow_is_made_good() {
    let (root, mut tree) = tree(&[]);
    walk(&mut tree);
    let most: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .ok()
        .and_then(|most| most.trim().parse().ok())
        .expect("a limit");
    // Each one is told of twice.
    for n in 0..most.min(32_768) {
        create_dir(root.path().join(n.to_string())).expect("made");
        if n >= 10 {
            remove_dir(root.path().join(n.to_string())).expect("removed");
        }
    }
    let mut changes = Vec::new();
    tree.hear(&mut |change| changes.push(change));
    let came = changes.iter().filter(|change| matches!(change, Change::Came { .. })).count();
    let went = changes.len() - came;
    assert_eq!((came - went, tree.len()), (10, 10));
}

/// Past the test harness, which would swallow it.
fn skipped(why: &str) {
    _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// On a host with cgroup2 that this user may write: ids are inodes, and rmdir is heard of there, too.
#[test]
fn the_real_hierarchy_behaves_so() {
    let mounts = crate::kernel::mounts::Mounts::read(Path::new("/proc"));
    let Some(root) = mounts.unified else { return skipped("there is no cgroup2") };
    let name = format!("rstwatch-test-{}.service", std::process::id());
    let at = root.join(&name);
    let mut tree = Tree::new(root);
    walk(&mut tree);
    if create_dir(&at).is_err() {
        return skipped("cgroups cannot be made");
    }
    let came = hear_of(&mut tree, &|change| matches!(change, Change::Came { path, .. } if path.ends_with(&name)));
    let inode = std::fs::metadata(&at).expect("there").ino();
    assert!(matches!(came, Change::Came { id, .. } if id == inode));
    remove_dir(&at).expect("removed");
    hear_of(&mut tree, &|change| *change == Change::Went(inode));
}

/// Others make cgroups, too.
fn hear_of(tree: &mut Tree, wanted: &dyn Fn(&Change) -> bool) -> Change {
    loop {
        if let Some(change) = hear(tree, 1).into_iter().find(|change| wanted(change)) {
            return change;
        }
    }
}

/// As when this process has no descriptor left.
#[test]
fn what_cannot_be_read_is_not_gone() {
    let (root, mut tree) = tree(&["a/b", "c"]);
    walk(&mut tree);
    std::fs::write(root.path().join("file"), "").expect("written");
    tree.walk += 1;
    tree.scan(0, "file".into(), &mut |change| panic!("{change:?}"));
    tree.forget_unmet(&mut |change| panic!("{change:?}"));
    assert!(tree.is_deaf(), "it is walked again");
    remove_dir(root.path().join("c")).expect("removed");
    assert_eq!(walk(&mut tree).len(), 1, "only what was removed went");
    assert!(!tree.is_deaf());
}

/// As with a cgroup that was given to a user, and that the user closed to us.
#[test]
fn what_is_hidden_keeps_nothing_else() {
    let (root, mut tree) = tree(&["hidden/a", "c"]);
    let set = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    set(root.path(), 0o755);
    walk(&mut tree);
    set(&root.path().join("hidden"), 0);
    remove_dir(root.path().join("c")).expect("removed");
    // Root reads everything, but a thread alone can be somebody else.
    let went = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                if rustix::process::geteuid().is_root() {
                    let nobody = Uid::from_raw(65534);
                    set_thread_res_uid(nobody, nobody, nobody).expect("nobody");
                }
                assert_eq!(
                    std::fs::read_dir(root.path().join("hidden")).map(drop).map_err(|error| error.kind()),
                    Err(ErrorKind::PermissionDenied)
                );
                walk(&mut tree).len()
            })
            .join()
            .expect("walked")
    });
    set(&root.path().join("hidden"), 0o755);
    assert_eq!(went, 2, "what was removed, and what is hidden");
    assert!(!tree.partial);
}
