use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use super::*;

/// Runs something on a thread that is locked down, which the others are not: so these tests can go on.
fn locked_down<T: Send + 'static>(needs: Needs, then: impl FnOnce() -> T + Send + 'static) -> (Lockdown, T) {
    let thread = std::thread::spawn(move || (lockdown(&needs), then()));
    thread.join().expect("no panic")
}

#[test]
fn little_is_possible_afterwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    File::create(folder.path().join("outside")).and_then(|mut file| file.write_all(b"x")).expect("made");
    std::fs::create_dir(&inside).expect("made");
    std::fs::write(inside.join("file"), "y").expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let at = listener.local_addr().expect("an address");
    let needs = Needs { read: vec![inside.clone()], connect: Vec::new() };
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
    assert_eq!(done.calls, Ok(()), "{done}");
    assert!(read && thread && accepted, "what is needed goes on: {read} {thread} {accepted}");
    assert!(!written && !net && !program, "{written} {net} {program}");
    let dumpable = rustix::process::dumpable_behavior().expect("known");
    assert_eq!(dumpable, DumpableBehavior::NotDumpable, "which is the process's, not the thread's");
    match done.paths {
        Paths::Restricted { .. } => assert!(!other, "outside of what is needed"),
        Paths::Absent => _ = writeln!(std::io::stderr(), "skipped in part: no Landlock"),
        Paths::Refused(why) => panic!("{why}"),
    }
}

#[test]
fn connections_go_where_they_are_needed() {
    let [wanted, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("bound"));
    let [to, elsewhere] = [&wanted, &other].map(|it| it.local_addr().expect("an address"));
    let needs = Needs { read: Vec::new(), connect: vec![to.port()] };
    let (done, (there, beyond, named)) = locked_down(needs, move || {
        let named = std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1)).is_ok();
        (TcpStream::connect(to).is_ok(), TcpStream::connect(elsewhere).is_ok(), named)
    });
    assert!(there && named, "{done}");
    if matches!(done.paths, Paths::Restricted { abi: 4.. }) {
        assert!(!beyond, "{done}");
    }
}

/// What an intruder would try ends the process, so another one has to try it: this very test, told by its environment.
#[test]
fn what_an_intruder_tries_ends_the_process() {
    const TRIED: &str = "RSTWATCH_TRIES";
    let name = "privileges::tests::what_an_intruder_tries_ends_the_process";
    if let Ok(call) = std::env::var(TRIED) {
        let call: libc::c_long = call.parse().expect("a number");
        let (done, ()) = locked_down(Needs::default(), move || {
            // SAFETY: no arguments that are pointers; where the call is not known, it fails.
            _ = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
        });
        assert_eq!(done.calls, Ok(()));
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
        assert!(try_call(call).success(), "{call} is no attack");
    }
}

#[test]
fn it_is_told_in_one_line() {
    let dropped = |keeps_bpf, bounding| Dropped { keeps_bpf, bounding, error: None };
    let all = Lockdown { capabilities: dropped(false, true), paths: Paths::Restricted { abi: 7 }, calls: Ok(()) };
    let least =
        Lockdown { capabilities: dropped(true, false), paths: Paths::Absent, calls: Err("not supported".to_owned()) };
    expect_test::expect![[r#"
        locked down: capabilities: none; files are read-only and few; TCP ports, signals and abstract sockets are closed (Landlock 7); system calls are filtered (seccomp)
        locked down: capabilities: CAP_BPF alone, without which this kernel's bpf() does not read maps (the bounding set stays, for want of CAP_SETPCAP); files are as before: no Landlock in this kernel; system calls are not filtered: not supported
    "#]]
    .assert_eq(&format!("{all}\n{least}\n"));
}

#[test]
fn a_file_that_is_read_again_may_be_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let real = folder.path().join("real");
    std::fs::create_dir(&real).expect("made");
    std::fs::write(real.join("file"), "").expect("written");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(real.join("file"), &link).expect("made");
    let found: Vec<_> = paths::of_file(&link).into_iter().map(|path| path.canonicalize().expect("there")).collect();
    let expected = [folder.path(), &real].map(|path| path.canonicalize().expect("there"));
    assert_eq!(found, expected);
    assert_eq!(paths::of_file(std::path::Path::new("file"))[0], PathBuf::from("."));
}
