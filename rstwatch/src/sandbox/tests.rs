use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rustix::thread::CapabilitySet;

use super::*;

/// Runs a function on a thread that is locked down. Only that thread is, so other tests are unaffected.
fn locked_down<T: Send + 'static>(needs: Needs, then: impl FnOnce() -> T + Send + 'static) -> (Lockdown, T) {
    let thread = std::thread::spawn(move || (lockdown(&needs), then()));
    thread.join().expect("no panic")
}

#[test]
fn lockdown_denies_what_is_not_needed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    File::create(folder.path().join("outside")).and_then(|mut file| file.write_all(b"x")).expect("created");
    std::fs::create_dir(&inside).expect("created");
    std::fs::write(inside.join("file"), "y").expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let needs = Needs { read: vec![inside.clone()], ..Needs::default() };
    let (done, (read, written, other, connected, spawned, thread, accepted)) = locked_down(needs, move || {
        let read = std::fs::read(inside.join("file")).is_ok() && File::open("/proc/self/status").is_ok();
        let written = std::fs::write(inside.join("file"), "z").is_ok() || File::create(inside.join("new")).is_ok();
        let other = File::open(outside).is_ok();
        let connected = TcpStream::connect(address).is_ok() || TcpListener::bind("127.0.0.1:0").is_ok();
        let spawned = Command::new("/bin/true").status().is_ok();
        let thread = std::thread::spawn(|| File::open("/proc/self/stat").is_ok()).join().is_ok_and(|read| read);
        listener.set_nonblocking(true).expect("set");
        let accepted = listener.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        (read, written, other, connected, spawned, thread, accepted)
    });
    assert_eq!(done.seccomp, Ok(()), "{done}");
    assert!(read && thread && accepted, "what is needed still works: {read} {thread} {accepted}");
    assert!(!written && !connected && !spawned, "{written} {connected} {spawned}");
    let dumpable = rustix::process::dumpable_behavior().expect("known");
    assert_eq!(dumpable, DumpableBehavior::NotDumpable, "dumpable is a property of the process, not of the thread");
    match done.landlock {
        Restriction::Restricted { .. } => assert!(!other, "a file that is not needed is readable"),
        Restriction::Absent => _ = writeln!(std::io::stderr(), "skipped in part: no Landlock"),
        Restriction::Refused(why) => panic!("{why}"),
    }
}

#[test]
fn connections_reach_only_the_needed_ports() {
    let [needed, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("bound"));
    let [to, elsewhere] = [&needed, &other].map(|it| it.local_addr().expect("an address"));
    let needs = Needs { connect: vec![to.port()], names: true, ..Needs::default() };
    let (done, (reached, elsewhere_reached, resolved)) = locked_down(needs, move || {
        let resolved = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1)).is_ok();
        (TcpStream::connect(to).is_ok(), TcpStream::connect(elsewhere).is_ok(), resolved)
    });
    assert!(reached && resolved, "{done}");
    if matches!(done.landlock, Restriction::Restricted { abi: 4.., .. }) {
        assert!(!elsewhere_reached, "{done}");
    }
}

/// A forbidden call kills the process, so this test runs itself again as a child, with the call's number in a variable.
#[test]
fn forbidden_calls_kill_the_process() {
    const CALL: &str = "RSTWATCH_TEST_CALL";
    let name = "sandbox::tests::forbidden_calls_kill_the_process";
    if let Ok(call) = std::env::var(CALL) {
        let call: libc::c_long = call.parse().expect("a number");
        let (done, ()) = locked_down(Needs::default(), move || {
            // SAFETY: every argument is 0, so the kernel dereferences no pointer of ours; an unknown call fails.
            _ = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
        });
        assert_eq!(done.seccomp, Ok(()));
        return;
    }
    let try_call = |call: libc::c_long| -> ExitStatus {
        let test = std::env::current_exe().expect("known");
        let mut command = Command::new(test);
        command.args(["--exact", name]).env(CALL, call.to_string()).output().expect("it starts").status
    };
    // With command 0, bpf() is BPF_MAP_CREATE.
    for call in [libc::SYS_execve, libc::SYS_setns, libc::SYS_ptrace, libc::SYS_io_uring_setup, libc::SYS_bpf] {
        assert_eq!(try_call(call).signal(), Some(libc::SIGSYS), "{call}");
    }
    for call in [libc::SYS_getpid, libc::SYS_sync] {
        assert!(try_call(call).success(), "{call} must not be fatal");
    }
}

#[test]
fn lockdown_is_described_in_one_line() {
    let dropped = |kept, bounding| Dropped { kept, bounding, error: None };
    let restricted = |abi, open: &[u16]| Restriction::Restricted { abi, open: open.iter().copied().collect() };
    let lockdown = |capabilities, landlock, seccomp| Lockdown { capabilities, landlock, seccomp, warnings: Vec::new() };
    let all = lockdown(dropped(CapabilitySet::empty(), true), restricted(7, &[]), Ok(()));
    let partial = lockdown(dropped(CapabilitySet::SYS_ADMIN, true), restricted(4, &[443, 53]), Ok(()));
    let refused = Err("not supported".to_owned());
    let least = lockdown(dropped(CapabilitySet::BPF, false), Restriction::Absent, refused);
    expect_test::expect![[r#"
        locked down: capabilities: none; only a few files can be read, and none written; TCP ports, signals and abstract sockets are closed (Landlock 7); system calls are filtered (seccomp)
        locked down: capabilities: only CAP_SYS_ADMIN, without which this kernel's bpf() does not read maps; only a few files can be read, and none written; TCP ports (except 53, 443 of any host, to connect to) are closed (Landlock 4); system calls are filtered (seccomp)
        locked down: capabilities: only CAP_BPF, without which this kernel's bpf() does not read maps (the bounding set stays: CAP_SETPCAP is missing); files stay as accessible as before: this kernel has no Landlock; system calls are not filtered: not supported
    "#]]
    .assert_eq(&format!("{all}\n{partial}\n{least}\n"));
}

#[test]
fn finds_every_folder_on_the_path_of_a_file() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().canonicalize().expect("a path");
    for folder in ["web/..1", "live", "archive", "ssl/v1", "far"] {
        std::fs::create_dir_all(root.join(folder)).expect("created");
    }
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, root.join(at)).expect("linked");
    link("..1", "web/..data");
    link("..data/tls.crt", "web/tls.crt");
    link("../archive/cert1.pem", "live/cert.pem");
    link("v1", "ssl/current");
    link("../ssl/current", "far/away");
    link("loop", "loop");
    let folders_of = |path: &str| {
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
        assert_eq!(folders_of(path), expected.iter().map(|&name| name.to_owned()).collect(), "{path}");
    }
    let here = Path::new(".").canonicalize().expect("a path");
    assert_eq!(landlock::folders_of(Path::new("file")), [here]);
}

#[test]
fn warns_of_files_that_become_unreadable() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !rustix::process::geteuid().is_root() {
        _ = writeln!(std::io::stderr(), "skipped: needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, theirs, missing] = ["ours", "theirs", "missing"].map(|name| folder.path().join(name));
    for file in [&ours, &theirs] {
        std::fs::write(file, "x").expect("written");
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).expect("chmodded");
    }
    chown(&theirs, Some(65_534), None).expect("chowned");
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
fn only_stream_socket_pairs_are_allowed() {
    let (done, (stream, datagram)) = locked_down(Needs::default(), || {
        use std::os::unix::net::{UnixDatagram, UnixStream};
        (UnixStream::pair().is_ok(), UnixDatagram::pair().is_ok())
    });
    assert_eq!(done.seccomp, Ok(()));
    assert!(stream && !datagram);
}

#[test]
fn resolver_files_are_unreadable_unless_names_are_resolved() {
    let needs = Needs { connect: vec![443], ..Needs::default() };
    let (done, hosts) = locked_down(needs, || File::open("/etc/hosts").is_ok());
    match done.landlock {
        Restriction::Restricted { open, .. } => assert!(!hosts && open == [443].into(), "{open:?}"),
        Restriction::Absent => _ = writeln!(std::io::stderr(), "skipped: no Landlock"),
        Restriction::Refused(why) => panic!("{why}"),
    }
}
