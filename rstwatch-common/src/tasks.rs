//! Tasks and their network namespaces, as the periodic scan writes them.

wire! {
    /// One task, by its ids in the daemon's own pid namespace.
    pub struct TaskNetns {
        /// Inode of its network namespace.
        pub netns: u32,
        /// Id of its process.
        pub tgid: u32,
        /// Its own id; the process's id for the first thread.
        pub tid: u32,
    }
}
