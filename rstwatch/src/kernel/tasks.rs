//! Which task stands for each network namespace, as the kernel side tells: nobody has to be allowed to trace it.

use rstwatch_common::tasks::TaskNetns;
use zerocopy::FromBytes;

use super::walk::Walk;

/// The probe's name.
pub const PROBE: &str = "task";

/// The walk over all tasks.
#[derive(Debug)]
pub struct Tasks(pub Walk);

impl Tasks {
    /// Every process, and each thread that is in another network namespace than its process, by ids of this pid namespace.
    /// Kernel threads are left out.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn look(&self) -> std::io::Result<Vec<TaskNetns>> {
        self.0.run().map(|written| listed(&written))
    }
}

/// The network namespace of the first process, which is the host's where the agent is in the host's pid namespace.
pub fn first(tasks: &[TaskNetns]) -> Option<u32> {
    tasks.iter().find(|task| task.tid == 1).map(|task| task.netns)
}

/// What the walk wrote: tasks, one behind the other.
fn listed(written: &[u8]) -> Vec<TaskNetns> {
    written.chunks_exact(size_of::<TaskNetns>()).filter_map(|one| TaskNetns::read_from_bytes(one).ok()).collect()
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn tasks_stand_one_behind_the_other() {
        let mut written = TaskNetns { netns: 1, tgid: 2, tid: 3 }.as_bytes().to_vec();
        written.extend_from_slice(TaskNetns { netns: 4, tgid: 5, tid: 5 }.as_bytes());
        written.extend_from_slice(&[9; 11]);
        let all: Vec<_> = listed(&written).iter().map(|it| (it.netns, it.tgid, it.tid)).collect();
        assert_eq!(all, [(1, 2, 3), (4, 5, 5)], "and a fragment is none");
    }
}
