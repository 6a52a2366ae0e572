use std::sync::mpsc;

use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};

use super::*;

fn refusal(path: &str) -> String {
    Netns::resolve(&[path.into()]).expect_err(path).to_string()
}

#[test]
fn refuses_what_is_no_network_namespace() {
    for (path, expected) in [
        ("/proc/self/status", "not a network namespace: give a path like /run/netns/NAME"),
        ("/dev/null", "not a network namespace: give"),
        ("/proc/self/ns/pid", "a PID namespace, not a network namespace: give"),
        ("/proc/self/ns/mnt", "a mount namespace, not"),
        ("/run/netns/no-such", "no such namespace: see ip netns list"),
        ("/proc/self/status/ns", "no such namespace"),
    ] {
        let said = refusal(path);
        assert!(said.starts_with(&format!("--netns {path}: {expected}")) && !said.contains('\n'), "{said}");
    }
}

#[test]
fn its_own_namespace_needs_no_privileges() {
    let found = Netns::resolve(&["/proc/self/ns/net".into()]).expect("own namespace");
    let [own] = &found[..] else { panic!("{found:?}") };
    assert!(own.has_inode(own.inode) && !own.has_inode(own.inode + 1));
    assert_eq!((own.loss(), own.path()), (None, Path::new("/proc/self/ns/net")));
    match own_cookie() {
        Ok(cookie) => assert_eq!((own.has_cookie(), own.key()), (true, cookie)),
        Err(_) => assert_eq!((own.has_cookie(), own.key()), (false, u64::from(own.inode))),
    }
}

/// A namespace that lasts until this is dropped, with its path.
struct Other(Option<mpsc::Sender<()>>, Option<std::thread::JoinHandle<()>>, PathBuf);

impl Other {
    /// `None` without privileges.
    fn new() -> Option<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (path_sender, path) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: a new network namespace affects neither memory nor file descriptors.
            if unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_ok() {
                let path = format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid().as_raw_nonzero());
                path_sender.send(path.into()).expect("awaited");
                _ = stopped.recv();
            }
        });
        Some(Self(Some(stop), Some(thread), path.recv().ok()?))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.take();
        _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// Repeats a question for at most ten seconds, as the kernel deletes namespaces later.
fn eventually(is_so: impl Fn() -> bool) -> bool {
    (0..200).any(|_| {
        is_so() || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            false
        }
    })
}

#[test]
fn a_deleted_namespace_is_gone_and_its_inode_is_not_its_own() {
    let Some(other) = Other::new() else { return eprintln!("skipped: cannot make a namespace") };
    let found = Netns::resolve(std::slice::from_ref(&other.2)).expect("a namespace");
    let netns = &found[0];
    if !netns.has_cookie() {
        return eprintln!("skipped: this kernel does not tell cookies");
    }
    assert_ne!(Ok(netns.key()), own_cookie().map_err(|_| ()));
    assert!(netns.has_inode(netns.inode));
    drop(other);
    assert!(eventually(|| netns.loss() == Some(Loss::Gone)), "{netns:?}");
    assert!(!netns.has_inode(netns.inode));
}

#[test]
fn a_held_namespace_keeps_its_inode() {
    let Some(other) = Other::new() else { return eprintln!("skipped: cannot make a namespace") };
    let Opened { path, inode, namespace } = Opened::new(&other.2).expect("a namespace");
    let held = Netns { path, inode, identity: Identity::Held { _namespace: namespace } };
    assert_eq!((held.has_cookie(), held.key(), held.loss()), (false, u64::from(inode), None));
    drop(other);
    assert!(eventually(|| held.loss() == Some(Loss::Unnamed)), "{held:?}");
    assert!(held.has_inode(inode), "no other namespace gets it while it is held");
}

#[test]
fn says_why_namespaces_are_held() {
    let why = |number| why_held(&io::Error::from_raw_os_error(number));
    assert_eq!(why(libc::EPERM), "reading their cookies takes CAP_SYS_ADMIN");
    assert_eq!(why(libc::ENOPROTOOPT), "this kernel does not tell their cookies (Linux 5.14)");
    assert!(why(libc::ENOENT).contains("No such file"));
}
