//! Attaching one program each, and the kernel's answer in a few words.

use std::fs::File;
use std::path::Path;

use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, FEntry, KProbe, ProgramError};

use super::verify::load;
use super::{Loader, program};
use crate::kernel::scope::cgroup2_mount;
use crate::privileges::rights;
use crate::probe::Probe;

/// Where the kernel shows that it has kprobes (CONFIG_KPROBE_EVENTS; since 4.17, kernel/events/core.c).
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";

impl Loader {
    pub(super) fn load_tracepoint(&mut self, name: &'static str) -> Result<(), String> {
        attach_or_reason(name, || Ok(load(program(&mut self.ebpf, name)?, name, &self.aya_btf)?))
    }

    pub(super) fn attach_loaded_tracepoint(&mut self, name: &'static str) -> Result<(), String> {
        attach_or_reason(name, || {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?.try_into()?;
            program.attach()?;
            Ok(())
        })
    }

    pub(super) fn fentry(&mut self, name: &'static str) -> Result<(), String> {
        if self.btf.function_parameters(name).is_none() {
            return Err("not in the kernel's BTF (inlined, or in a module)".to_owned());
        }
        attach_or_reason(name, || {
            let program: &mut FEntry = program(&mut self.ebpf, name)?.try_into()?;
            program.load(name, &self.aya_btf)?;
            program.attach()?;
            Ok(())
        })
    }

    /// A function in the kernel or in one of its modules: by fentry, else by a kprobe.
    pub(super) fn function(&mut self, name: &'static str, kprobe: &'static str) -> Result<(), String> {
        let Err(fentry) = self.fentry(name) else { return Ok(()) };
        // Verifying a program that cannot be attached takes as long as verifying any.
        if !Path::new(KPROBES).exists() {
            return Err(format!("fentry: {fentry}; kprobe: this kernel has none"));
        }
        attach_or_reason(name, || {
            let program: &mut KProbe = program(&mut self.ebpf, kprobe)?.try_into()?;
            program.load()?;
            program.attach(name, 0)?;
            Ok(())
        })
        .map_err(|kprobe| format!("fentry: {fentry}; kprobe: {kprobe}"))
        .map_err(|why| match rights::kprobes_need() {
            Some(need) if why.ends_with(&std::io::Error::from_raw_os_error(libc::EACCES).to_string()) => {
                format!("{why}: {need}")
            }
            _ => why,
        })
    }

    pub(super) fn ingress(&mut self) -> Result<(), String> {
        let mount = cgroup2_mount().ok_or("cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup")?;
        let attach = || -> anyhow::Result<()> {
            let root = File::open(&mount)?;
            let program: &mut CgroupSkb = program(&mut self.ebpf, "ingress")?.try_into()?;
            program.load()?;
            program.attach(root, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single)?;
            Ok(())
        };
        attach_or_reason("cgroup_skb", attach)
    }

    pub(super) fn record_stand_in(
        &mut self,
        name: &'static str,
        for_probe: &str,
        attached: Result<(), String>,
        degrades: &'static str,
    ) {
        self.record(name, attached, degrades);
        if let Some(probe) = self.probes.last_mut().filter(|probe| probe.attached) {
            probe.detail = format!("stands in for {for_probe}");
        }
    }

    pub(super) fn record(&mut self, name: &'static str, attached: Result<(), String>, degrades: &'static str) {
        let (attached, detail) = match attached {
            Ok(()) => (true, String::new()),
            Err(detail) => (false, detail),
        };
        self.probes.push(Probe { name, required: false, attached, detail, degrades });
    }
}

fn attach_or_reason(name: &str, mut attach: impl FnMut() -> anyhow::Result<()>) -> Result<(), String> {
    attach().map_err(|error| told_reason(name, &error))
}

/// The kernel's answer in a few words; the whole goes to the debug log.
pub(super) fn told_reason(name: &str, error: &anyhow::Error) -> String {
    tracing::debug!(probe = name, "{error:#}");
    reason_of(error)
}

fn reason_of(error: &anyhow::Error) -> String {
    let io_error = error.chain().find_map(|cause| match cause.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { io_error, .. }) => Some(io_error),
        Some(ProgramError::SyscallError(error)) => Some(&error.io_error),
        _ => cause.downcast_ref::<std::io::Error>(),
    });
    match io_error {
        Some(error) => format!("the kernel refuses: {error}"),
        None => error.to_string(),
    }
}
