//! Finds network namespaces, and a task in each: `/proc/PID/net` shows the task's namespace, so the agent need not enter it.
//! A namespace without a task cannot be read.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_link};
use std::path::{Path, PathBuf};

use rstwatch_common::tasks::TaskNetns;

use crate::kernel::tasks;

/// Namespaces by inode.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// The task through which each is read, as a path below /proc.
    tasks: BTreeMap<u32, PathBuf>,
}

/// A namespace that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Readable {
    /// Its inode.
    pub(super) netns: u32,
    /// The directory `net` of a task in it.
    pub(super) net: PathBuf,
    /// It is read through another task than before. The kernel reuses inodes quickly, so this may be another namespace.
    pub(super) fresh: bool,
}

impl Namespaces {
    /// Finds all namespaces. `tasks`: from the kernel side. Without them /proc is read, which shows only the namespaces of tasks
    /// that the agent may trace. `owners`, used in that case only: namespaces and processes that opened sockets there, because
    /// a namespace may contain a single thread and not its process.
    pub(super) fn scan(
        &mut self,
        proc: &Path,
        tasks: Option<&[TaskNetns]>,
        owners: impl IntoIterator<Item = (u32, u32)>,
    ) -> Vec<Readable> {
        let found = match tasks {
            Some(tasks) => self.group_tasks(tasks),
            None => self.walk_proc(proc, owners),
        };
        let last = std::mem::replace(&mut self.tasks, found);
        let readable = |(netns, task): (&u32, &PathBuf)| Readable {
            netns: *netns,
            net: proc.join(task).join("net"),
            fresh: last.get(netns) != Some(task),
        };
        self.tasks.iter().map(readable).collect()
    }

    fn group_tasks(&self, tasks: &[TaskNetns]) -> BTreeMap<u32, PathBuf> {
        let mut found = BTreeMap::new();
        for task in tasks {
            self.offer(&mut found, task.netns, task_dir(task));
        }
        found
    }

    fn walk_proc(&self, proc: &Path, owners: impl IntoIterator<Item = (u32, u32)>) -> BTreeMap<u32, PathBuf> {
        let mut found = BTreeMap::new();
        for pid in pids(proc) {
            let task = PathBuf::from(pid.to_string());
            if let Some(netns) = netns_of(&proc.join(&task)) {
                self.offer(&mut found, netns, task);
            }
        }
        for (netns, pid) in owners {
            if !found.contains_key(&netns)
                && let Some(task) = thread_in(proc, pid, netns)
            {
                self.offer(&mut found, netns, task);
            }
        }
        found
    }

    /// Keeps the first task of each namespace, but prefers the one of the last scan.
    fn offer(&self, found: &mut BTreeMap<u32, PathBuf>, netns: u32, task: PathBuf) {
        if self.tasks.get(&netns) == Some(&task) {
            found.insert(netns, task);
        } else {
            found.entry(netns).or_insert(task);
        }
    }
}

/// The host's namespace: that of the first process or, if that is hidden, of the agent. /proc/1 is read only without tasks from
/// the kernel side, because a refused read every second would fill the audit log.
pub(super) fn host_netns(proc: &Path, tasks: Option<&[TaskNetns]>) -> Option<u32> {
    let first = match tasks {
        Some(tasks) => tasks::first(tasks),
        None => netns_of(&proc.join("1")),
    };
    first.or_else(|| own_netns(proc))
}

/// The agent's namespace.
pub(super) fn own_netns(proc: &Path) -> Option<u32> {
    netns_of(&proc.join("self"))
}

/// A task's directory below /proc.
fn task_dir(TaskNetns { tgid, tid, .. }: &TaskNetns) -> PathBuf {
    if tid == tgid { PathBuf::from(tgid.to_string()) } else { PathBuf::from(format!("{tgid}/task/{tid}")) }
}

fn pids(proc: &Path) -> Vec<u32> {
    let entries = read_dir(proc).into_iter().flatten().filter_map(Result::ok);
    let mut pids: Vec<_> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

fn thread_in(proc: &Path, pid: u32, netns: u32) -> Option<PathBuf> {
    let tasks = PathBuf::from(pid.to_string()).join("task");
    pids(&proc.join(&tasks))
        .into_iter()
        .map(|thread| tasks.join(thread.to_string()))
        .find(|task| netns_of(&proc.join(task)) == Some(netns))
}

/// The link reads `net:[4026531840]`.
fn netns_of(task: &Path) -> Option<u32> {
    let link = read_link(task.join("ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}
