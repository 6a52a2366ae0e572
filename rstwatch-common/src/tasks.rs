//! Tasks and their network namespaces: what a look at all tasks writes.

wire! {
    /// One task, by the ids of the daemon's own pid namespace.
    pub struct TaskNetns {
        /// Inode of its network namespace.
        pub netns: u32,
        /// Its process.
        pub tgid: u32,
        /// Itself; the process's id for the first thread.
        pub tid: u32,
    }
}
