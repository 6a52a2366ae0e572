use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rustix::thread::CapabilitySet;

use super::*;

/// Runs a function on a thread that is locked down. The other threads are not, so that other tests can run.
fn locked_down<T: Send + 'static>(needs: Needs, then: impl FnOnce() -> T + Send + 'static) -> (Lockdown, T) {
    let thread = std::thread::spawn(move || (lockdown(&needs), then()));
    thread.join().expect("no panic")
}

#[test]
fn lockdown_leaves_little() {
    let folder = tempfile::tempdir().expect("a folder");
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    File::create(folder.path().join("outside")).and_then(|mut file| file.write_all(b"x")).expect("made");
    std::fs::create_dir(&inside).expect("made");
    std::fs::write(inside.join("file"), "y").expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let at = listener.local_addr().expect("an address");
    let needs = Needs { read: vec![inside.clone()], ..Needs::default() };
    let (done, (read, written, other, net, program, thread, accepted)) = locked_down(needs, move || {
        let read = std::fs::read(inside.join("file")).is_ok() && File::open("/proc/self/status").is_ok();
        let written = std::fs::write(inside.join("file"), "z").is_ok() || File::create(inside.join("new")).is_ok();
        let other = File::open(outside).is_ok();
        let net = TcpStream::connect(at).is_ok() || TcpListener::bind("127.0.0.1:0").is_ok();
        let program = Command::new("/bin/true").status().is_ok();
        let thread = std::thread::spawn(|| File::open("/proc/self/stat").is_ok()).join().is_ok_and(|read| read);
        listener.set_nonblocking(true).expect("set");
        let accepted = listener.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        (read, written, other, net, program, thread, accepted)
    });
    assert_eq!(done.seccomp, Ok(()), "{done}");
    assert!(read && thread && accepted, "what is needed still works: {read} {thread} {accepted}");
    assert!(!written && !net && !program, "{written} {net} {program}");
    let dumpable = rustix::process::dumpable_behavior().expect("known");
    assert_eq!(dumpable, DumpableBehavior::NotDumpable, "this belongs to the process, not the thread");
    match done.landlock {
        Restriction::Restricted { .. } => assert!(!other, "a file outside of what is needed"),
        Restriction::Absent => _ = writeln!(std::io::stderr(), "skipped in part: no Landlock"),
        Restriction::Refused(why) => panic!("{why}"),
    }
}

#[test]
fn connections_reach_only_the_needed_ports() {
    let [needed, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("bound"));
    let [to, elsewhere] = [&needed, &other].map(|it| it.local_addr().expect("an address"));
    let needs = Needs { connect: vec![to.port()], names: true, ..Needs::default() };
    let (done, (there, beyond, named)) = locked_down(needs, move || {
        let named = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1)).is_ok();
        (TcpStream::connect(to).is_ok(), TcpStream::connect(elsewhere).is_ok(), named)
    });
    assert!(there && named, "{done}");
    if matches!(done.landlock, Restriction::Restricted { abi: 4.., .. }) {
        assert!(!beyond, "{done}");
    }
}

/// An intruder's calls end the process, so another process has to make them: this same test, with a variable set.
#[test]
fn an_intruders_call_ends_the_process() {
    const TRIED: &str = "RSTWATCH_TRIES";
    let name = "sandbox::tests::an_intruders_call_ends_the_process";
    if let Ok(call) = std::env::var(TRIED) {
        let call: libc::c_long = call.parse().expect("a number");
        let (done, ()) = locked_down(Needs::default(), move || {
            // SAFETY: no argument is a pointer; a call that the kernel does not know fails.
            _ = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
        });
        assert_eq!(done.seccomp, Ok(()));
        return;
    }
    let try_call = |call: libc::c_long| -> ExitStatus {
        let itself = std::env::current_exe().expect("known");
        let mut command = Command::new(itself);
        command.args(["--exact", name]).env(TRIED, call.to_string()).output().expect("it starts").status
    };
    // bpf(BPF_MAP_CREATE) is number 0 of its commands.
    for call in [libc::SYS_execve, libc::SYS_setns, libc::SYS_ptrace, libc::SYS_io_uring_setup, libc::SYS_bpf] {
        assert_eq!(try_call(call).signal(), Some(libc::SIGSYS), "{call}");
    }
    for call in [libc::SYS_getpid, libc::SYS_sync] {
        assert!(try_call(call).success(), "{call} does no harm");
    }
}

#[test]
fn one_line_describes_it() {
    let dropped = |kept, bounding| Dropped { kept, bounding, error: None };
    let restricted = |abi, open: &[u16]| Restriction::Restricted { abi, open: open.iter().copied().collect() };
    let lockdown = |capabilities, landlock, seccomp| Lockdown { capabilities, landlock, seccomp, warnings: Vec::new() };
    let all = lockdown(dropped(CapabilitySet::empty(), true), restricted(7, &[]), Ok(()));
    let asking = lockdown(dropped(CapabilitySet::SYS_ADMIN, true), restricted(4, &[443, 53]), Ok(()));
    let refused = Err("not supported".to_owned());
    let least = lockdown(dropped(CapabilitySet::BPF, false), Restriction::Absent, refused);
    expect_test::expect![[r#"
        locked down: capabilities: none; only a few files can be read, and none written; TCP ports, signals and abstract sockets are closed (Landlock 7); system calls are filtered (seccomp)
        locked down: capabilities: only CAP_SYS_ADMIN, without which this kernel's bpf() does not read maps; only a few files can be read, and none written; TCP ports (except 53, 443 of any host, to connect to) are closed (Landlock 4); system calls are filtered (seccomp)
        locked down: capabilities: only CAP_BPF, without which this kernel's bpf() does not read maps (the bounding set stays: CAP_SETPCAP is missing); files stay as accessible as before: this kernel has no Landlock; system calls are not filtered: not supported
    "#]]
    .assert_eq(&format!("{all}\n{asking}\n{least}\n"));
}

#[test]
fn finds_every_folder_on_a_files_path() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().canonicalize().expect("a path");
    for folder in ["web/..1", "live", "archive", "ssl/v1", "far"] {
        std::fs::create_dir_all(root.join(folder)).expect("made");
    }
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).expect("linked");
    link("..1", "web/..data");
    link("..data/tls.crt", "web/tls.crt");
    link("../archive/cert1.pem", "live/cert.pem");
    link("v1", "ssl/current");
    link("../ssl/current", "far/away");
    link("loop", "loop");
    let shown = |path: &str| {
        let folders = landlock::folders_of(&root.join(path));
        let names = folders.iter().map(|folder| folder.strip_prefix(&root).expect("inside").display().to_string());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let cases: &[(&str, &[&str])] = &[
        ("web/tls.crt", &["web", "web/..1"]),
        ("web/..data/tls.crt", &["web", "web/..1"]),
        ("live/cert.pem", &["live", "archive"]),
        ("ssl/current/cert.pem", &["ssl", "ssl/v1"]),
        ("far/away/cert.pem", &["far", "ssl", "ssl/v1"]),
        ("live/../ssl/current/cert.pem", &["ssl", "ssl/v1"]),
        ("loop", &[""]),
        ("none/x", &[]),
    ];
    for (path, expected) in cases {
        assert_eq!(shown(path), expected.iter().map(|&name| name.to_owned()).collect(), "{path}");
    }
    let here = Path::new(".").canonicalize().expect("a path");
    assert_eq!(landlock::folders_of(Path::new("file")), [here]);
}

#[test]
fn warns_of_a_file_that_cannot_be_read_again() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !rustix::process::geteuid().is_root() {
        _ = writeln!(std::io::stderr(), "skipped: needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, theirs, missing] = ["ours", "theirs", "missing"].map(|name| folder.path().join(name));
    for file in [&ours, &theirs] {
        std::fs::write(file, "x").expect("written");
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).expect("closed");
    }
    chown(&theirs, Some(65_534), None).expect("given away");
    let mut needs = Needs::default();
    needs.add_files(vec![ours, theirs.clone(), missing]);
    let (done, ()) = locked_down(needs, || ());
    let expected = format!(
        "{} cannot be read again after the start: Permission denied (os error 13): \
         the agent runs as user 0, who needs permission to read it and to enter its folders",
        theirs.display()
    );
    assert_eq!(done.warnings, [expected]);
}

#[test]
fn warns_of_a_file_in_the_root_folder() {
    let warns =
        |path: &str| landlock::warn_if_whole_tree(&Needs { read: vec![path.into()], ..Needs::default() }).is_some();
    assert!(warns("/") && warns("/proc/self/root") && !warns("/etc"));
}

#[test]
fn socket_pairs_are_streams_only() {
    let (done, (stream, datagram)) = locked_down(Needs::default(), || {
        use std::os::unix::net::{UnixDatagram, UnixStream};
        (UnixStream::pair().is_ok(), UnixDatagram::pair().is_ok())
    });
    assert_eq!(done.seccomp, Ok(()));
    assert!(stream && !datagram);
}

#[test]
fn the_resolvers_files_are_unreadable_without_names() {
    let needs = Needs { connect: vec![443], ..Needs::default() };
    let (done, hosts) = locked_down(needs, || File::open("/etc/hosts").is_ok());
    match done.landlock {
        Restriction::Restricted { open, .. } => assert!(!hosts && open == [443].into(), "{open:?}"),
        Restriction::Absent => _ = writeln!(std::io::stderr(), "skipped: no Landlock"),
        Restriction::Refused(why) => panic!("{why}"),
    }
}
