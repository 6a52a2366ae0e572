//! Which cgroups a process is in, by `/proc/PID/cgroup`: for hosts whose cgroup2 hierarchy does not tell, and for owners whose
//! cgroup nobody has seen yet.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::time::{ClockId, clock_gettime};

use super::path::{Place, parse};

/// More than any process has: version 1 has a dozen hierarchies.
const LONGEST: u64 = 64 * 1024;
/// Ticks a second in `/proc` (USER_HZ, part of the ABI).
const USER_HZ: u64 = 100;
/// The kernel's word is good for a tick.
const TICK: Duration = Duration::from_millis(20);

/// This host's clocks at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clocks {
    /// Since boot, time asleep left out.
    monotonic: Duration,
    /// How long it has been suspended since boot: by so much its two clocks differ.
    slept: Duration,
}

impl Clocks {
    pub(super) fn now() -> Self {
        let now = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        // In this order, so that it has not slept too short.
        let monotonic = now(ClockId::Monotonic);
        Self { monotonic, slept: now(ClockId::Boottime).saturating_sub(monotonic) }
    }
}

/// What says most of all its hierarchies, if the process is still the one that started then (monotonic nanoseconds, as
/// `task_struct.start_time`). `began`: the clocks at any time before now; the earliest that are known tell most.
///
/// The folder is opened first: it stays that process's, whoever gets the number later.
pub(super) fn read(proc: &Path, tgid: u32, start_ns: u64, began: Clocks) -> Option<Place> {
    let folder = proc.join(tgid.to_string());
    let folder = openat(CWD, &folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let read = |name: &str| {
        let file = openat(&folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        File::from(file).take(LONGEST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let started = started(&read("stat")?)?;
    is_start(started, Duration::from_nanos(start_ns), began, Clocks::now().slept)
        .then(|| told(&read("cgroup")?))
        .flatten()
}

/// Lines of `ID:CONTROLLERS:PATH`; the path may hold colons.
fn told(text: &str) -> Option<Place> {
    let mut best = Place::Nothing;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, _, path) = (fields.next()?, fields.next()?, fields.next()?);
        let place = parse(path);
        if place.rank() > best.rank() {
            best = place;
        }
    }
    Some(best)
}

/// Field 22 of `/proc/PID/stat`: when it started, since boot, time asleep included (fs/proc/array.c). The command name, which
/// comes before, may hold anything.
fn started(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let ticks: u64 = behind_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / USER_HZ)?))
}

/// Whether a start in `/proc`, which counts time asleep, is that of a task, which does not: how long the host had slept by
/// then is not known, only how long it had when we began, and how long it has by now.
fn is_start(in_proc: Duration, of_task: Duration, began: Clocks, slept: Duration) -> bool {
    let (least, most) = if of_task >= began.monotonic { (began.slept, slept) } else { (Duration::ZERO, began.slept) };
    in_proc + TICK >= of_task + least && in_proc <= of_task + most + TICK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::owner::path::Runtime;

    const ID: &str = "47cbd16b77c50cbf71401c069cd2189f0e659af17d5a2daca3bddf59d8a870b2";

    fn proc_with(stat: &str, cgroup: &str) -> tempfile::TempDir {
        let proc = tempfile::tempdir().expect("a folder");
        let folder = proc.path().join("42");
        std::fs::create_dir(&folder).expect("made");
        std::fs::write(folder.join("stat"), stat).expect("written");
        std::fs::write(folder.join("cgroup"), cgroup).expect("written");
        proc
    }

    fn stat(comm: &str, ticks: u64) -> String {
        format!("42 ({comm}) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 {ticks} 1 2 3\n")
    }

    const SECOND: u64 = 1_000_000_000;
    /// Before anything started, and it has not slept.
    const AWAKE: Clocks = Clocks { monotonic: Duration::ZERO, slept: Duration::ZERO };

    #[test]
    fn the_best_of_all_hierarchies_counts() {
        let docker = format!(
            "9:name=systemd:/system.slice/docker.service\n4:memory:/docker/{ID}\n0::/system.slice/a:b.service\n"
        );
        let proc = proc_with(&stat("x", 500), &docker);
        let expected = Place::Container { runtime: Runtime::Docker, id: ID.into(), pod: None };
        assert_eq!(read(proc.path(), 42, 5 * SECOND, AWAKE), Some(expected));
        let v1 = proc_with(&stat("x", 500), "9:name=systemd:/system.slice/cron.service\n4:memory:/system.slice\n");
        assert_eq!(read(v1.path(), 42, 5 * SECOND, AWAKE), Some(Place::Unit("cron.service".into())));
    }

    #[test]
    fn another_process_of_that_number_is_not_asked() {
        let proc = proc_with(&stat("a) S 1 (b", 500), "0::/system.slice/cron.service\n");
        let of = |start_ns| read(proc.path(), 42, start_ns, AWAKE).is_some();
        assert!(of(5 * SECOND) && of(5 * SECOND + SECOND / 100));
        assert!(!of(7 * SECOND), "it started before that one");
        assert_eq!(read(proc.path(), 43, 5 * SECOND, AWAKE), None);
    }

    /// We began after 100 s awake and 30 asleep; by now it has slept for 50.
    #[test]
    fn time_asleep_is_told_from_another_start() {
        let seconds = Duration::from_secs;
        let began = Clocks { monotonic: seconds(100), slept: seconds(30) };
        let is = |in_proc, of_task| is_start(seconds(in_proc), seconds(of_task), began, seconds(50));
        for (in_proc, of_task, why) in [
            (20, 20, "before it slept"),
            (50, 20, "after all sleep, before we began"),
            (130, 100, "as we began"),
            (240, 200, "between two sleeps since"),
            (250, 200, "after all sleep"),
        ] {
            assert!(is(in_proc, of_task), "{why}");
        }
        for (in_proc, of_task, why) in [
            (19, 20, "it is older"),
            (51, 20, "it had not slept so long when we began"),
            (229, 200, "it had slept longer when we began"),
            (251, 200, "it has not slept so long"),
        ] {
            assert!(!is(in_proc, of_task), "{why}");
        }
    }

    #[test]
    fn damage_is_nobody() {
        for (stat_text, cgroup) in
            [("", "0::/"), ("42 (x", "0::/"), ("42 (x) S 1", "0::/"), (&*stat("x", u64::MAX), "0::/")]
        {
            assert_eq!(read(proc_with(stat_text, cgroup).path(), 42, 0, AWAKE), None, "{stat_text}");
        }
        assert_eq!(read(proc_with(&stat("x", 0), "nonsense").path(), 42, 0, AWAKE), None);
        assert_eq!(read(proc_with(&stat("x", 0), "").path(), 42, 0, AWAKE), Some(Place::Nothing));
    }

    /// With the kernel's own file, whatever this host's layout is.
    #[test]
    fn this_process_is_found() {
        let text = std::fs::read_to_string("/proc/self/stat").expect("read");
        let since_boot = started(&text).expect("a start");
        let now = Clocks::now();
        let start = since_boot.saturating_sub(now.slept).as_nanos();
        let start = u64::try_from(start).expect("small");
        assert!(read(Path::new("/proc"), std::process::id(), start, now).is_some());
        assert_eq!(read(Path::new("/proc"), std::process::id(), start + 3600 * SECOND, now), None);
    }
}
