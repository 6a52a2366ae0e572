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

/// What a process's file said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What says most of all its hierarchies.
    pub(super) place: Place,
    /// Its path in the cgroup2 hierarchy, as seen from here.
    pub(super) unified: Option<String>,
}

/// Reads it, if the process is still the one that started then (monotonic nanoseconds, as `task_struct.start_time`).
///
/// The folder is opened first: it stays that process's, whoever gets the number later.
pub(super) fn read(proc: &Path, tgid: u32, start_ns: u64) -> Option<Told> {
    let folder = proc.join(tgid.to_string());
    let folder = openat(CWD, &folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let read = |name: &str| {
        let file = openat(&folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        File::from(file).take(LONGEST).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let started = started(&read("stat")?)?;
    is_start(started, Duration::from_nanos(start_ns), slept()).then(|| told(&read("cgroup")?)).flatten()
}

/// Lines of `ID:CONTROLLERS:PATH`; the path may hold colons.
fn told(text: &str) -> Option<Told> {
    let mut told = Told { place: Place::Nothing, unified: None };
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (id, _, path) = (fields.next()?, fields.next()?, fields.next()?);
        let place = parse(path);
        if place.rank() > told.place.rank() {
            told.place = place;
        }
        if id == "0" {
            told.unified = Some(path.to_owned());
        }
    }
    Some(told)
}

/// Field 22 of `/proc/PID/stat`: when it started, since boot, time asleep included (fs/proc/array.c). The command name, which
/// comes before, may hold anything.
fn started(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let ticks: u64 = behind_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / USER_HZ)?))
}

/// How long this host has been suspended since it was booted: by so much its two clocks differ.
fn slept() -> Duration {
    let now = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    // In this order, so that it is not too short.
    let monotonic = now(ClockId::Monotonic);
    now(ClockId::Boottime).saturating_sub(monotonic)
}

/// Whether a start in `/proc`, which counts time asleep, is that of a task, which does not: how long the host had slept by
/// then is not known, only how long it has by now.
fn is_start(in_proc: Duration, of_task: Duration, slept: Duration) -> bool {
    in_proc + TICK >= of_task && in_proc <= of_task + slept + TICK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::path::Runtime;

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

    #[test]
    fn the_best_of_all_hierarchies_counts() {
        let docker = format!(
            "9:name=systemd:/system.slice/docker.service\n4:memory:/docker/{ID}\n0::/system.slice/a:b.service\n"
        );
        let proc = proc_with(&stat("x", 500), &docker);
        let told = read(proc.path(), 42, 5 * SECOND).expect("told");
        let expected = Place::Container { runtime: Runtime::Docker, id: ID.into(), pod: None };
        assert_eq!((told.place, told.unified.as_deref()), (expected, Some("/system.slice/a:b.service")));
        let v1 = proc_with(&stat("x", 500), "9:name=systemd:/system.slice/cron.service\n4:memory:/system.slice\n");
        let told = read(v1.path(), 42, 5 * SECOND).expect("told");
        assert_eq!((told.place, told.unified), (Place::Unit("cron.service".into()), None));
    }

    #[test]
    fn another_process_of_that_number_is_not_asked() {
        let proc = proc_with(&stat("a) S 1 (b", 500), "0::/system.slice/cron.service\n");
        let of = |start_ns| read(proc.path(), 42, start_ns).is_some();
        assert!(of(5 * SECOND) && of(5 * SECOND + SECOND / 100));
        assert!(!of(7 * SECOND), "it started before that one");
        assert_eq!(read(proc.path(), 43, 5 * SECOND), None);
        assert!(
            is_start(Duration::from_secs(5), Duration::from_secs(2), Duration::from_secs(3)),
            "slept before it began"
        );
        assert!(!is_start(Duration::from_secs(6), Duration::from_secs(2), Duration::from_secs(3)));
    }

    #[test]
    fn damage_is_nobody() {
        for (stat_text, cgroup) in
            [("", "0::/"), ("42 (x", "0::/"), ("42 (x) S 1", "0::/"), (&*stat("x", u64::MAX), "0::/")]
        {
            assert_eq!(read(proc_with(stat_text, cgroup).path(), 42, 0), None, "{stat_text}");
        }
        assert_eq!(read(proc_with(&stat("x", 0), "nonsense").path(), 42, 0), None);
        assert_eq!(read(proc_with(&stat("x", 0), "").path(), 42, 0).map(|told| told.place), Some(Place::Nothing));
    }

    /// With the kernel's own file, whatever this host's layout is.
    #[test]
    fn this_process_is_found() {
        let text = std::fs::read_to_string("/proc/self/stat").expect("read");
        let since_boot = started(&text).expect("a start");
        let start = since_boot.saturating_sub(slept()).as_nanos();
        let start = u64::try_from(start).expect("small");
        assert!(read(Path::new("/proc"), std::process::id(), start).is_some());
        assert_eq!(read(Path::new("/proc"), std::process::id(), start + 3600 * SECOND), None);
    }
}
