//! Reads the cgroups of a process from `/proc/PID/cgroup`, for hosts whose cgroup2 hierarchy does not show the owner and for
//! cgroups that are not in the cache yet.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::time::{ClockId, clock_gettime};

use super::path::{CgroupOwner, parse};

/// Most bytes read of a file. Cgroup v1 has about a dozen hierarchies, one line each.
const MAX_BYTES: u64 = 64 * 1024;
/// Ticks per second in `/proc` (USER_HZ, part of the ABI).
const USER_HZ: u64 = 100;
/// Tolerance when comparing start times: `/proc` rounds them to a tick.
const TOLERANCE: Duration = Duration::from_millis(20);

/// Readings of the host's clocks at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clocks {
    /// Time since boot, without suspended time.
    monotonic: Duration,
    /// Time suspended since boot: `CLOCK_BOOTTIME` minus `CLOCK_MONOTONIC`.
    suspended: Duration,
}

impl Clocks {
    pub(super) fn now() -> Self {
        let now = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        // In this order, so that the suspended time is not underestimated.
        let monotonic = now(ClockId::Monotonic);
        Self { monotonic, suspended: now(ClockId::Boottime).saturating_sub(monotonic) }
    }
}

/// The most specific owner over all hierarchies, provided that the process still is the one with this start time (monotonic
/// nanoseconds, as `task_struct.start_time`). `earlier`: clock readings from any time before now; the earlier, the stricter the
/// comparison of start times.
///
/// Opens the directory first: it then refers to this process even if its id is reused.
pub(super) fn read(proc: &Path, tgid: u32, start_ns: u64, earlier: Clocks) -> Option<CgroupOwner> {
    let folder = proc.join(tgid.to_string());
    let folder = openat(CWD, &folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let read = |name: &str| {
        let file = openat(&folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        File::from(file).take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let started = started(&read("stat")?)?;
    is_start(started, Duration::from_nanos(start_ns), earlier, Clocks::now().suspended)
        .then(|| most_specific(&read("cgroup")?))
        .flatten()
}

/// Parses lines of `ID:CONTROLLERS:PATH`; the path may contain colons.
fn most_specific(text: &str) -> Option<CgroupOwner> {
    let mut best = CgroupOwner::Unmanaged;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, _, path) = (fields.next()?, fields.next()?, fields.next()?);
        let owner = parse(path);
        if owner.rank() > best.rank() {
            best = owner;
        }
    }
    Some(best)
}

/// Field 22 of `/proc/PID/stat`: the start time since boot, including suspended time (fs/proc/array.c). The command name
/// before it may contain any character.
fn started(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks: u64 = after_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / USER_HZ)?))
}

/// Whether a start time from `/proc`, which includes suspended time, can equal one of a task, which does not. How long the host
/// had been suspended when the task started is unknown; bounds are the suspended time at the earlier reading, and that of now.
fn is_start(in_proc: Duration, of_task: Duration, earlier: Clocks, suspended: Duration) -> bool {
    let (least, most) =
        if of_task >= earlier.monotonic { (earlier.suspended, suspended) } else { (Duration::ZERO, earlier.suspended) };
    in_proc + TOLERANCE >= of_task + least && in_proc <= of_task + most + TOLERANCE
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
    /// Before any process started, on a host that was never suspended.
    const AWAKE: Clocks = Clocks { monotonic: Duration::ZERO, suspended: Duration::ZERO };

    #[test]
    fn the_most_specific_hierarchy_wins() {
        let docker = format!(
            "9:name=systemd:/system.slice/docker.service\n4:memory:/docker/{ID}\n0::/system.slice/a:b.service\n"
        );
        let proc = proc_with(&stat("x", 500), &docker);
        let expected = CgroupOwner::Container { runtime: Runtime::Docker, id: ID.into(), pod: None };
        assert_eq!(read(proc.path(), 42, 5 * SECOND, AWAKE), Some(expected));
        let v1 = proc_with(&stat("x", 500), "9:name=systemd:/system.slice/cron.service\n4:memory:/system.slice\n");
        assert_eq!(read(v1.path(), 42, 5 * SECOND, AWAKE), Some(CgroupOwner::Unit("cron.service".into())));
    }

    #[test]
    fn another_process_with_the_same_id_is_rejected() {
        let proc = proc_with(&stat("a) S 1 (b", 500), "0::/system.slice/cron.service\n");
        let of = |start_ns| read(proc.path(), 42, start_ns, AWAKE).is_some();
        assert!(of(5 * SECOND) && of(5 * SECOND + SECOND / 100));
        assert!(!of(7 * SECOND), "an earlier start");
        assert_eq!(read(proc.path(), 43, 5 * SECOND, AWAKE), None);
    }

    /// Earlier reading: 100 s awake and 30 s suspended. By now the host has been suspended for 50 s.
    #[test]
    fn suspended_time_is_not_mistaken_for_another_start() {
        let seconds = Duration::from_secs;
        let earlier = Clocks { monotonic: seconds(100), suspended: seconds(30) };
        let is = |in_proc, of_task| is_start(seconds(in_proc), seconds(of_task), earlier, seconds(50));
        for (in_proc, of_task, why) in [
            (20, 20, "before any suspension"),
            (50, 20, "after all suspensions, before the earlier reading"),
            (130, 100, "at the earlier reading"),
            (240, 200, "between two later suspensions"),
            (250, 200, "after all suspensions"),
        ] {
            assert!(is(in_proc, of_task), "{why}");
        }
        for (in_proc, of_task, why) in [
            (19, 20, "started earlier"),
            (51, 20, "more suspended time than at the earlier reading"),
            (229, 200, "less suspended time than at the earlier reading"),
            (251, 200, "more suspended time than by now"),
        ] {
            assert!(!is(in_proc, of_task), "{why}");
        }
    }

    #[test]
    fn damaged_files_resolve_to_nothing() {
        for (stat_text, cgroup) in
            [("", "0::/"), ("42 (x", "0::/"), ("42 (x) S 1", "0::/"), (&*stat("x", u64::MAX), "0::/")]
        {
            assert_eq!(read(proc_with(stat_text, cgroup).path(), 42, 0, AWAKE), None, "{stat_text}");
        }
        assert_eq!(read(proc_with(&stat("x", 0), "nonsense").path(), 42, 0, AWAKE), None);
        assert_eq!(read(proc_with(&stat("x", 0), "").path(), 42, 0, AWAKE), Some(CgroupOwner::Unmanaged));
    }

    /// With the real `/proc`, whatever this host's layout is.
    #[test]
    fn this_process_is_found() {
        let text = std::fs::read_to_string("/proc/self/stat").expect("read");
        let since_boot = started(&text).expect("a start");
        let now = Clocks::now();
        let start = since_boot.saturating_sub(now.suspended).as_nanos();
        let start = u64::try_from(start).expect("small");
        assert!(read(Path::new("/proc"), std::process::id(), start, now).is_some());
        assert_eq!(read(Path::new("/proc"), std::process::id(), start + 3600 * SECOND, now), None);
    }
}
