//! Attaches one program.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::Context;
use aya::maps::Map;
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, FEntry, KProbe};

use super::capabilities;
use super::hook::Program;
use super::iterator::BpfIterator;
use super::load::{LoadedObject, no_map};
use super::preload::load;
use super::refusal::brief;
use super::scope::cgroup2_mount;

/// Exists if the kernel has kprobes (`CONFIG_KPROBE_EVENTS`; since Linux 4.17, kernel/events/core.c).
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";

/// Attaches a program of the hook of this name. An iterator is returned; all else stays attached until the object is dropped.
pub(super) fn attach(
    object: &mut LoadedObject,
    hook: &'static str,
    program: Program,
) -> Result<Option<BpfIterator>, String> {
    let attached = match program {
        Program::Tracepoint(name) => tracepoint(object, name).map(|()| None),
        Program::Fentry(name) => return fentry(object, name).map(|()| None),
        Program::Kprobe(name) => return kprobe(object, hook, name).map(|()| None),
        Program::CgroupIngress(name) => cgroup_ingress(object, name).map(|()| None),
        Program::Iterate { name, over, map } => iterate(object, name, over, map).map(Some),
    };
    attached.map_err(|error| brief(hook, &error))
}

/// Loads a tracepoint's program, so that attaching it takes no time.
pub(super) fn load_tracepoint(object: &mut LoadedObject, name: &str) -> anyhow::Result<()> {
    let (program, btf) = object.program_and_btf(name)?;
    Ok(load(program, name, btf)?)
}

fn tracepoint(object: &mut LoadedObject, name: &str) -> anyhow::Result<()> {
    load_tracepoint(object, name)?;
    let program: &mut BtfTracePoint = object.program(name)?.try_into()?;
    program.attach()?;
    Ok(())
}

fn fentry(object: &mut LoadedObject, function: &'static str) -> Result<(), String> {
    if object.btf.function_parameters(function).is_none() {
        return Err("not in the kernel's BTF (inlined, or in a module)".to_owned());
    }
    let mut attach = || -> anyhow::Result<()> {
        let (program, btf) = object.program_and_btf(function)?;
        let program: &mut FEntry = program.try_into()?;
        program.load(function, btf)?;
        program.attach()?;
        Ok(())
    };
    attach().map_err(|error| brief(function, &error))
}

fn kprobe(object: &mut LoadedObject, function: &'static str, name: &str) -> Result<(), String> {
    // Verifying a program takes as long whether or not it can be attached afterwards.
    if !Path::new(KPROBES).exists() {
        return Err("this kernel has none".to_owned());
    }
    let mut attach = || -> anyhow::Result<()> {
        let program: &mut KProbe = object.program(name)?.try_into()?;
        program.load()?;
        program.attach(function, 0)?;
        Ok(())
    };
    attach().map_err(|error| brief(function, &error)).map_err(|refusal| match capabilities::kprobes_need() {
        Some(need) if refusal.ends_with(&std::io::Error::from_raw_os_error(libc::EACCES).to_string()) => {
            format!("{refusal}: {need}")
        }
        _ => refusal,
    })
}

fn cgroup_ingress(object: &mut LoadedObject, name: &str) -> anyhow::Result<()> {
    let mount = cgroup2_mount().context("cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup")?;
    let root = File::open(&mount)?;
    let program: &mut CgroupSkb = object.program(name)?.try_into()?;
    program.load()?;
    program.attach(root, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single)?;
    Ok(())
}

fn iterate(object: &mut LoadedObject, name: &str, over: &str, map: Option<&str>) -> anyhow::Result<BpfIterator> {
    let (program, btf) = object.program_and_btf(name)?;
    load(program, over, btf)?;
    let program = program.fd()?.as_fd().try_clone_to_owned()?;
    let map = map.map(|map| hash_map(object, map)).transpose()?;
    Ok(BpfIterator::new(program.as_fd(), map)?)
}

fn hash_map<'a>(object: &'a LoadedObject, name: &str) -> anyhow::Result<BorrowedFd<'a>> {
    match object.ebpf.map(name) {
        Some(Map::HashMap(map)) => Ok(map.fd().as_fd()),
        _ => anyhow::bail!(no_map(name)),
    }
}
