use std::fs::Permissions;
use std::fs::{create_dir, create_dir_all, remove_dir};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{Uid, set_thread_res_uid};

use super::*;

/// A temporary directory behaves like the hierarchy, but on some filesystems it has other link counts, or inode numbers are
/// reused.
fn tree(directories: &[&str]) -> (tempfile::TempDir, Tree) {
    // In memory if possible: a test creates thousands of directories.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    directories.iter().for_each(|path| create_dir_all(root.path().join(path)).expect("made"));
    let tree = Tree::new(root.path().to_owned());
    (root, tree)
}

fn walk(tree: &mut Tree) -> Vec<Change> {
    let mut changes = Vec::new();
    tree.walk(&mut |change| changes.push(change));
    changes
}

/// Reads events until at least `count` changes have been reported.
fn changes(tree: &mut Tree, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        let fd = tree.event_fd().expect("inotify");
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)), Ok(1), "{changes:?}");
        tree.apply_events(&mut |change| changes.push(change));
    }
    changes
}

fn paths(changes: &[Change]) -> Vec<&str> {
    let mut paths: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Added { path, .. } => Some(&**path),
            Change::Removed(_) => None,
        })
        .collect();
    paths.sort_unstable();
    paths
}

#[test]
fn a_walk_finds_every_directory() {
    let (root, mut tree) = tree(&["a.slice/b.service", "a.slice/c.scope/d"]);
    std::fs::write(root.path().join("a.slice/cgroup.procs"), "").expect("written");
    std::os::unix::fs::symlink("/", root.path().join("a.slice/everything")).expect("linked");
    let changes = walk(&mut tree);
    assert_eq!(paths(&changes), ["/a.slice", "/a.slice/b.service", "/a.slice/c.scope", "/a.slice/c.scope/d"]);
    let inode = std::fs::metadata(root.path().join("a.slice/b.service")).expect("there").ino();
    assert!(
        changes
            .iter()
            .any(|it| matches!(it, Change::Added { id, path, .. } if *id == inode && path.ends_with("b.service")))
    );
    assert_eq!(walk(&mut tree), [], "nothing new");
    assert!(!tree.needs_walks());
}

#[test]
fn inotify_reports_created_and_removed_directories() {
    let (root, mut tree) = tree(&["a.slice"]);
    walk(&mut tree);
    // The subdirectory exists before the first event is read.
    create_dir_all(root.path().join("a.slice/b.service/c")).expect("made");
    create_dir(root.path().join("d.scope")).expect("made");
    let added = changes(&mut tree, 3);
    assert_eq!(paths(&added), ["/a.slice/b.service", "/a.slice/b.service/c", "/d.scope"]);
    remove_dir(root.path().join("a.slice/b.service/c")).expect("removed");
    remove_dir(root.path().join("a.slice/b.service")).expect("removed");
    let removed = changes(&mut tree, 2);
    assert!(removed.iter().all(|change| matches!(change, Change::Removed(_))), "{removed:?}");
    create_dir(root.path().join("a.slice/b.service")).expect("made");
    assert_eq!(paths(&changes(&mut tree, 1)), ["/a.slice/b.service"], "created again, with another id");
    assert_eq!((tree.len(), tree.names.len(), tree.inotify.watches.len()), (3, 3, 4));
}

#[test]
fn a_walk_finds_what_inotify_missed() {
    let (root, mut tree) = tree(&["a", "b"]);
    walk(&mut tree);
    tree.inotify.fd = None;
    assert!(tree.needs_walks());
    remove_dir(root.path().join("a")).expect("removed");
    create_dir(root.path().join("c")).expect("made");
    let changes = walk(&mut tree);
    assert_eq!(
        (changes.len(), paths(&changes)),
        (2, vec!["/c"]),
        "even if the inode number is that of the removed one"
    );
    assert_eq!((tree.len(), tree.names.len()), (2, 2));
}

#[test]
fn the_tree_is_bounded() {
    let (root, mut tree) = tree(&["a", "b", "c"]);
    tree.max_directories = 2;
    assert_eq!(walk(&mut tree).len(), 2);
    assert!(tree.needs_walks(), "so it walks again");
    let deep = root.path().join(vec!["x"; 2 * MAX_DEPTH].join("/"));
    create_dir_all(deep).expect("made");
    tree.max_directories = 1000;
    assert_eq!(walk(&mut tree).len(), 1 + MAX_DEPTH);
}

/// Overflows the event queue, whose length is `fs.inotify.max_queued_events`.
#[test]
fn an_overflow_causes_a_walk() {
    let (root, mut tree) = tree(&[]);
    walk(&mut tree);
    let most: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .ok()
        .and_then(|most| most.trim().parse().ok())
        .expect("a limit");
    // Each but the first ten causes two events.
    for n in 0..most.min(32_768) {
        create_dir(root.path().join(n.to_string())).expect("made");
        if n >= 10 {
            remove_dir(root.path().join(n.to_string())).expect("removed");
        }
    }
    let mut changes = Vec::new();
    tree.apply_events(&mut |change| changes.push(change));
    let added = changes.iter().filter(|change| matches!(change, Change::Added { .. })).count();
    let removed = changes.len() - added;
    assert_eq!((added - removed, tree.len()), (10, 10));
}

/// Writes to stderr directly: the test harness captures `eprintln`.
fn skipped(why: &str) {
    _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// With the real cgroup2, if this user may write to it: ids are inode numbers, and inotify reports rmdir.
#[test]
fn the_real_hierarchy_behaves_alike() {
    let mounts = crate::kernel::mounts::Mounts::read(Path::new("/proc"));
    let Some(root) = mounts.unified else { return skipped("no cgroup2 mount") };
    let name = format!("rstwatch-test-{}.service", std::process::id());
    let at = root.join(&name);
    let mut tree = Tree::new(root);
    walk(&mut tree);
    if create_dir(&at).is_err() {
        return skipped("cannot create cgroups");
    }
    let added = wait_for(&mut tree, &|change| matches!(change, Change::Added { path, .. } if path.ends_with(&name)));
    let inode = std::fs::metadata(&at).expect("there").ino();
    assert!(matches!(added, Change::Added { id, .. } if id == inode));
    remove_dir(&at).expect("removed");
    wait_for(&mut tree, &|change| *change == Change::Removed(inode));
}

/// Reads events until one matches; other programs may create cgroups meanwhile.
fn wait_for(tree: &mut Tree, wanted: &dyn Fn(&Change) -> bool) -> Change {
    loop {
        if let Some(change) = changes(tree, 1).into_iter().find(|change| wanted(change)) {
            return change;
        }
    }
}

/// For example, because this process has run out of file descriptors.
#[test]
fn directories_that_cannot_be_read_are_kept() {
    let (root, mut tree) = tree(&["a/b", "c"]);
    walk(&mut tree);
    std::fs::write(root.path().join("file"), "").expect("written");
    tree.walk += 1;
    tree.scan(0, "file".into(), &mut |change| panic!("{change:?}"));
    tree.remove_not_found(&mut |change| panic!("{change:?}"));
    assert!(tree.needs_walks(), "it walks again");
    remove_dir(root.path().join("c")).expect("removed");
    assert_eq!(walk(&mut tree).len(), 1, "only the removed one");
    assert!(!tree.needs_walks());
}

/// For example, a delegated cgroup that its user has made inaccessible.
#[test]
fn an_inaccessible_directory_does_not_keep_others() {
    let (root, mut tree) = tree(&["hidden/a", "c"]);
    let set = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    set(root.path(), 0o755);
    walk(&mut tree);
    set(&root.path().join("hidden"), 0);
    remove_dir(root.path().join("c")).expect("removed");
    // Root may read everything, so this thread, and only this one, becomes another user.
    let removed = std::thread::scope(|scope| {
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
    assert_eq!(removed, 2, "c, and hidden/a, which can no longer be found");
    assert!(!tree.partial);
}
