//! Tasks and their network namespaces, from an iterator: unlike /proc, it needs no permission to trace them.

use rstwatch_common::tasks::TaskNetns;
use zerocopy::FromBytes;

use super::iterator::BpfIterator;

/// The iterator over all tasks.
#[derive(Debug)]
pub struct Tasks(pub BpfIterator);

impl Tasks {
    /// Every process, and each thread that is in another network namespace than its process, by their ids in this pid
    /// namespace. Kernel threads are left out.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn scan(&self) -> std::io::Result<Vec<TaskNetns>> {
        self.0.run().map(|written| parse(&written))
    }
}

/// The network namespace of the first process. It is the host's if the agent is in the host's pid namespace.
pub fn first(tasks: &[TaskNetns]) -> Option<u32> {
    tasks.iter().find(|task| task.tid == 1).map(|task| task.netns)
}

/// Reads what the iterator wrote: one record after another.
fn parse(written: &[u8]) -> Vec<TaskNetns> {
    written.chunks_exact(size_of::<TaskNetns>()).filter_map(|one| TaskNetns::read_from_bytes(one).ok()).collect()
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn reads_one_task_after_another() {
        let mut written = TaskNetns { netns: 1, tgid: 2, tid: 3 }.as_bytes().to_vec();
        written.extend_from_slice(TaskNetns { netns: 4, tgid: 5, tid: 5 }.as_bytes());
        written.extend_from_slice(&[9; 11]);
        let all: Vec<_> = parse(&written).iter().map(|it| (it.netns, it.tgid, it.tid)).collect();
        assert_eq!(all, [(1, 2, 3), (4, 5, 5)], "a fragment is skipped");
    }
}
