//! Iterators: one that runs once, and those that run again and again.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context;
use aya::maps::{Array, Map};
use aya::programs::Iter;

use super::each::told_reason;
use super::verify::load;
use super::{Loader, constants, program};
use crate::kernel::tasks::{self, Tasks};
use crate::kernel::walk::{self, Walk};
use crate::kernel::{listeners, sampler};

impl Loader {
    /// Tells which task stands for each network namespace. First of all, for programs want to know the host's.
    pub(super) fn tasks(&mut self) -> anyhow::Result<()> {
        let walk = self.repeated(tasks::PROBE, ("tasks", "task"), None, "what other network namespaces count");
        self.tasks = walk.map(Tasks);
        let found = self.tasks.as_ref().and_then(|tasks| tasks.look().ok()).unwrap_or_default();
        let mut host: Array<_, u32> =
            Array::try_from(self.ebpf.map_mut("HOST_NETNS").context("the eBPF object lacks HOST_NETNS")?)?;
        Ok(host.set(0, tasks::first(&found).or_else(constants::host_netns).unwrap_or(0), 0)?)
    }

    /// Owners of the sockets that are older than the agent.
    pub(super) fn seed(&mut self) {
        let seeded = self.run_once("seed", "task_file").map_err(|error| told_reason("task_file", &error));
        self.record("task_file", seeded, "owners of connections older than the agent");
    }

    /// Looks at all connections from time to time.
    pub(super) fn sample(&mut self) {
        const WITHOUT: &str = "idle gaps that connections survived: timeouts have no lower bound";
        if constants::has_socket_storage(&self.btf) {
            let walk = self.repeated(sampler::PROBE, ("sample", "task_file"), None, WITHOUT);
            self.sampler = walk.map(sampler::Sampler);
        } else {
            let why = "this kernel has no socket storage for tracing programs";
            self.record(sampler::PROBE, Err(why.to_owned()), WITHOUT);
        }
    }

    /// Looks at accept queues.
    pub(super) fn listeners(&mut self) {
        let walk = ("listeners", "bpf_map_elem");
        let degrades = "accept queues, and whose they are that overflow";
        self.listeners = self.repeated(listeners::PROBE, walk, Some("LISTENERS"), degrades);
    }

    /// A walk that runs again and again, by the names of its program and of what it iterates over, and by its map where it
    /// walks one; recorded as a probe.
    fn repeated(
        &mut self,
        probe: &'static str,
        walk: (&str, &str),
        map: Option<&str>,
        degrades: &'static str,
    ) -> Option<Walk> {
        let (walk, attached) = match self.walk(walk, map) {
            Ok(walk) => (Some(walk), Ok(())),
            Err(error) => (None, Err(told_reason(probe, &error))),
        };
        self.record(probe, attached, degrades);
        walk
    }

    fn walk(&mut self, (name, over): (&str, &str), map: Option<&str>) -> anyhow::Result<Walk> {
        let program = program(&mut self.ebpf, name)?;
        load(program, over, &self.aya_btf)?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        let map = map.map(|map| self.hash_map(map)).transpose()?;
        Ok(Walk::new(program.as_fd(), map)?)
    }

    fn hash_map(&self, name: &str) -> anyhow::Result<BorrowedFd<'_>> {
        match self.ebpf.map(name) {
            Some(Map::HashMap(map)) => Ok(map.fd().as_fd()),
            _ => anyhow::bail!("the eBPF object lacks {name}"),
        }
    }

    fn run_once(&mut self, name: &str, over: &str) -> anyhow::Result<()> {
        let program = program(&mut self.ebpf, name)?;
        load(program, over, &self.aya_btf)?;
        let program: &mut Iter = program.try_into()?;
        let link = program.attach()?;
        let link = program.take_link(link)?;
        Ok(walk::read(&mut link.into_file()?).map(drop)?)
    }
}
