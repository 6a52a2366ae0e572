//! A task, as a record names it.

/// `task_struct.flags`: the task is exiting.
pub const PF_EXITING: u32 = 0x4;
/// `task_struct.flags`: a kernel thread.
pub const PF_KTHREAD: u32 = 0x0020_0000;

wire! {
    /// A task.
    pub struct Task {
        /// Start, monotonic nanoseconds.
        pub start_ns: u64,
        /// Id of its cgroup (v2).
        pub cgroup: u64,
        /// Process id in the initial namespace; 0: not known.
        pub tgid: u32,
        /// `task_struct.flags`.
        pub flags: u32,
        /// `task_struct.exit_code`: signal in the low seven bits, exit status above.
        pub exit_code: u32,
        /// Padding.
        pub reserved: u32,
        /// Command name, NUL-padded.
        pub comm: [u8; 16],
    }
}

impl Task {
    /// No task.
    pub const NONE: Self = Self { start_ns: 0, cgroup: 0, tgid: 0, flags: 0, exit_code: 0, reserved: 0, comm: [0; 16] };
}
