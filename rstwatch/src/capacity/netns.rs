//! Which network namespaces there are, and through which task each can be read: `/proc/PID/net` is its task's, so nobody
//! has to enter it. One without a task cannot be read.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_link};
use std::path::{Path, PathBuf};

use rstwatch_common::tasks::TaskNetns;

use crate::kernel::tasks;

/// Namespaces by inode.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Of each the task that it is read through, as a path below /proc.
    tasks: BTreeMap<u32, PathBuf>,
}

/// A namespace that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Readable {
    /// Its inode.
    pub(super) netns: u32,
    /// The folder `net` of a task in it.
    pub(super) net: PathBuf,
    /// It is read through another task than the last time. An inode is soon given to another namespace, so this may be one.
    pub(super) fresh: bool,
}

impl Namespaces {
    /// Looks for all. `tasks`: what the kernel side says; where it says nothing, /proc is asked, which tells of those tasks
    /// alone that the agent may trace. `owners`: namespaces and processes that opened sockets there, for that case: a thread
    /// may be alone in its namespace.
    pub(super) fn look(
        &mut self,
        proc: &Path,
        tasks: Option<&[TaskNetns]>,
        owners: impl IntoIterator<Item = (u32, u32)>,
    ) -> Vec<Readable> {
        let found = match tasks {
            Some(tasks) => self.told(tasks),
            None => self.walked(proc, owners),
        };
        let last = std::mem::replace(&mut self.tasks, found);
        let readable = |(netns, task): (&u32, &PathBuf)| Readable {
            netns: *netns,
            net: proc.join(task).join("net"),
            fresh: last.get(netns) != Some(task),
        };
        self.tasks.iter().map(readable).collect()
    }

    fn told(&self, tasks: &[TaskNetns]) -> BTreeMap<u32, PathBuf> {
        let mut found = BTreeMap::new();
        for task in tasks {
            self.offer(&mut found, task.netns, folder(task));
        }
        found
    }

    fn walked(&self, proc: &Path, owners: impl IntoIterator<Item = (u32, u32)>) -> BTreeMap<u32, PathBuf> {
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

    /// The first task stands for its namespace, unless another did already.
    fn offer(&self, found: &mut BTreeMap<u32, PathBuf>, netns: u32, task: PathBuf) {
        if self.tasks.get(&netns) == Some(&task) {
            found.insert(netns, task);
        } else {
            found.entry(netns).or_insert(task);
        }
    }
}

/// The namespace of the host's first process, or, where that is hidden, of this one. /proc is asked for that of the first
/// where the kernel side says nothing alone: each second a question that is refused would fill the audit log.
pub(super) fn hosts(proc: &Path, tasks: Option<&[TaskNetns]>) -> Option<u32> {
    let first = match tasks {
        Some(tasks) => tasks::first(tasks),
        None => netns_of(&proc.join("1")),
    };
    first.or_else(|| own(proc))
}

/// The namespace of this process.
pub(super) fn own(proc: &Path) -> Option<u32> {
    netns_of(&proc.join("self"))
}

/// A task's folder below /proc.
fn folder(TaskNetns { tgid, tid, .. }: &TaskNetns) -> PathBuf {
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
