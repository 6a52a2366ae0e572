//! Loads the eBPF object for this kernel and attaches what it allows.
//!
//! A hook that this kernel refuses costs a named piece of evidence, never the whole agent; only the three tracepoints
//! are required.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, bail};
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, FEntry, Iter, ProgramError};
use aya::{Ebpf, EbpfLoader};
use rstwatch_common::settings::Settings;
use zerocopy::IntoBytes;

use super::btf::{Btf, VMLINUX};
use super::counts::Counters;
use super::reasons::Reasons;
use super::scope::{Scope, cgroup2_mount};
use super::{layout, object};
use crate::cause::Direction;
use crate::probe::{Probe, Probes};

/// How much detail leaves the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of the ring buffer in bytes; rounded up to a power of two of pages.
    pub ring_bytes: u32,
    /// Detail events a second of one kind on one CPU, on average.
    pub rate: u32,
    /// How many may come at once.
    pub burst: u32,
}

/// The programs, attached until dropped. The kernel detaches them when the process ends, however it ends.
pub struct Attached {
    /// Owns programs and links.
    pub programs: Ebpf,
    /// Details of resets.
    pub events: RingBuf<MapData>,
    /// Exact counts.
    pub counters: Counters,
    /// Names of the kernel's reasons.
    pub reasons: Reasons,
    /// What is attached.
    pub probes: Probes,
}

/// Reads this kernel's BTF.
///
/// # Errors
///
/// When the kernel has none (`CONFIG_DEBUG_INFO_BTF`), or what it has cannot be parsed.
pub fn kernel_btf() -> anyhow::Result<Btf> {
    let bytes = std::fs::read(VMLINUX)
        .with_context(|| format!("{VMLINUX}: this kernel shows no BTF: use one built with CONFIG_DEBUG_INFO_BTF=y"))?;
    Btf::parse(bytes).with_context(|| format!("{VMLINUX}: cannot be parsed: report it with the kernel's version"))
}

/// Loads and attaches everything that this kernel allows.
///
/// # Errors
///
/// No BTF, no privileges, or a required probe that cannot be attached.
pub fn attach(scope: &Scope, limits: &Limits) -> anyhow::Result<Attached> {
    Loader::attached(scope, limits)?.finish(scope.netns.is_empty() && scope.cgroup.is_none())
}

/// What could be attached, and why nothing could; nothing stays attached.
pub fn survey(scope: &Scope, limits: &Limits) -> (Probes, Vec<String>) {
    match Loader::attached(scope, limits) {
        Ok(loader) => {
            let notes = notes(&loader.btf);
            (Probes(loader.probes), notes)
        }
        Err(error) => {
            let probe = Probe {
                name: "object",
                required: true,
                attached: false,
                detail: format!("{error:#}"),
                degrades: "everything",
            };
            (Probes(vec![probe]), Vec::new())
        }
    }
}

/// What this kernel lacks besides probes.
fn notes(btf: &Btf) -> Vec<String> {
    let mut notes = Vec::new();
    if btf.tracepoint_arguments("tcp_send_reset").is_some_and(|arguments| arguments < 3) {
        let unseen = "before Linux 6.10 the kernel does not trace RSTs without a socket or from TIME_WAIT";
        notes.push(format!("{unseen}: refused connections and late segments are missing from the sent counts"));
    }
    let missing = layout::missing(btf);
    if !missing.is_empty() {
        notes.push(format!("fields that this kernel lacks: {}", missing.join(", ")));
    }
    notes
}

struct Loader {
    btf: Btf,
    aya_btf: aya::Btf,
    ebpf: Ebpf,
    probes: Vec<Probe>,
}

impl Loader {
    fn attached(scope: &Scope, limits: &Limits) -> anyhow::Result<Self> {
        let mut loader = Self::new(kernel_btf()?, scope, limits)?;
        loader.required();
        loader.headers();
        loader.rejects();
        loader.seed();
        Ok(loader)
    }

    fn new(btf: Btf, scope: &Scope, limits: &Limits) -> anyhow::Result<Self> {
        let aya_btf = aya::Btf::from_sys_fs().with_context(|| format!("{VMLINUX}: cannot be read"))?;
        let settings = settings(&btf, scope, limits);
        let layout = layout::resolve(&btf);
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&aya_btf))
            .override_global("LAYOUT", layout.as_bytes(), true)
            .override_global("SETTINGS", settings.as_bytes(), true)
            .map_max_entries("EVENTS", limits.ring_bytes)
            .load(object::BYTES)
            .map_err(|error| refused(&error))?;
        watch_only(&mut ebpf, &scope.netns)?;
        Ok(Self { btf, aya_btf, ebpf, probes: Vec::new() })
    }

    fn required(&mut self) {
        self.tracepoint("inet_sock_set_state", true, "owners, idle times and the cause of late resets");
        self.tracepoint("tcp_receive_reset", true, "received resets");
        self.tracepoint("tcp_send_reset", true, "sent resets");
    }

    /// The RST's own header: fentry costs nothing per packet; the cgroup program looks at each.
    fn headers(&mut self) {
        const WITHOUT: &str = "TTL and shape of received RSTs: no verdict on middleboxes";
        let attached = if self.btf.function_parameters("tcp_reset") == Some(2) {
            self.fentry("tcp_reset")
        } else {
            Err("this kernel's tcp_reset() does not pass the packet".to_owned())
        };
        if attached.is_ok() {
            self.record("tcp_reset", attached, WITHOUT);
            let attached = self.fentry("tcp_finish_connect");
            return self.record("tcp_finish_connect", attached, "the TTL of peers that this host connected to");
        }
        let ingress = self.ingress();
        let without =
            if ingress.is_ok() { "nothing, cgroup_skb stands in: a short look at each packet" } else { WITHOUT };
        self.record("tcp_reset", attached, without);
        self.record_stand_in("cgroup_skb", "tcp_reset", ingress, WITHOUT);
    }

    /// Firewall rejects: seen where they are made, or inferred from what they drop.
    fn rejects(&mut self) {
        let attached =
            self.fentry("nf_send_reset").and_then(|()| match self.btf.function_parameters("nf_send_reset6") {
                Some(_) => self.fentry("nf_send_reset6"),
                None => Ok(()),
            });
        if attached.is_ok() {
            return self.record("nf_send_reset", attached, "");
        }
        let usable = self.btf.tracepoint_arguments("kfree_skb").is_some_and(|arguments| arguments >= 3)
            && netfilter_drop(&self.btf).is_some();
        let drops = if usable {
            self.attach_tracepoint("kfree_skb")
        } else {
            Err("this kernel gives no drop reasons".to_owned())
        };
        let without = match drops {
            Ok(()) => "firewall rejects whose RST leaves this host; kfree_skb shows those that a socket here receives",
            Err(_) => "firewall rejects",
        };
        self.record("nf_send_reset", attached, without);
        self.record_stand_in("kfree_skb", "nf_send_reset", drops, "firewall rejects");
    }

    /// Owners of the sockets that are older than the agent.
    fn seed(&mut self) {
        let seeded = self.run_iterator().map_err(|error| reason_of(&error));
        self.record("task_file", seeded, "owners of connections older than the agent");
    }

    fn run_iterator(&mut self) -> anyhow::Result<()> {
        let program: &mut Iter = program(&mut self.ebpf, "seed")?.try_into()?;
        program.load("task_file", &self.aya_btf)?;
        let link = program.attach()?;
        let link = program.take_link(link)?;
        let mut nothing = Vec::new();
        link.into_file()?.read_to_end(&mut nothing)?;
        Ok(())
    }

    fn finish(self, unfiltered: bool) -> anyhow::Result<Attached> {
        let Self { btf, mut ebpf, probes, .. } = self;
        let probes = Probes(probes);
        if let Some(probe) = probes.missing().next() {
            bail!("cannot attach {}: {}: rstwatch check tells what this host allows", probe.name, probe.detail);
        }
        let reasons = Reasons::of_kernel(&btf);
        let counters = Counters {
            counts: PerCpuArray::try_from(map(&mut ebpf, "COUNTS")?)?,
            losses: PerCpuArray::try_from(map(&mut ebpf, "LOSSES")?)?,
            reasons: reasons.clone(),
            // What a filter would have let through of what was missed, nobody knows.
            programs: if unfiltered { counting(&mut ebpf)? } else { Vec::new() },
        };
        let events = RingBuf::try_from(map(&mut ebpf, "EVENTS")?)?;
        Ok(Attached { programs: ebpf, events, counters, reasons, probes })
    }
}

/// Attaching one program each.
impl Loader {
    fn tracepoint(&mut self, name: &'static str, required: bool, degrades: &'static str) {
        let attached = self.attach_tracepoint(name);
        self.record(name, attached, degrades);
        if let Some(probe) = self.probes.last_mut() {
            probe.required = required;
        }
    }

    fn attach_tracepoint(&mut self, name: &'static str) -> Result<(), String> {
        let attach = || -> anyhow::Result<()> {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, name)?.try_into()?;
            program.load(name, &self.aya_btf)?;
            program.attach()?;
            Ok(())
        };
        attach_or_reason(name, attach)
    }

    fn fentry(&mut self, name: &'static str) -> Result<(), String> {
        if self.btf.function_parameters(name).is_none() {
            return Err("not in the kernel's BTF (inlined, or in a module)".to_owned());
        }
        let attach = || -> anyhow::Result<()> {
            let program: &mut FEntry = program(&mut self.ebpf, name)?.try_into()?;
            program.load(name, &self.aya_btf)?;
            program.attach()?;
            Ok(())
        };
        attach_or_reason(name, attach)
    }

    fn ingress(&mut self) -> Result<(), String> {
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

    fn record_stand_in(
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

    fn record(&mut self, name: &'static str, attached: Result<(), String>, degrades: &'static str) {
        let (attached, detail) = match attached {
            Ok(()) => (true, String::new()),
            Err(detail) => (false, detail),
        };
        self.probes.push(Probe { name, required: false, attached, detail, degrades });
    }
}

fn attach_or_reason(name: &str, mut attach: impl FnMut() -> anyhow::Result<()>) -> Result<(), String> {
    attach().map_err(|error| {
        tracing::debug!(probe = name, "{error:#}");
        reason_of(&error)
    })
}

/// The kernel's answer in a few words; verifier logs go to the debug log.
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

/// Why the object itself could not be loaded: nearly always the want of privileges.
fn refused(error: &aya::EbpfError) -> anyhow::Error {
    let root = rustix::process::geteuid().is_root();
    tracing::debug!("{error:#}");
    if root {
        anyhow::anyhow!("cannot load the eBPF object: {error}: rstwatch check tells what this host allows")
    } else {
        anyhow::anyhow!(
            "cannot load the eBPF object: not permitted: run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
        )
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut aya::programs::Program> {
    ebpf.program_mut(name).with_context(|| format!("the eBPF object lacks {name}"))
}

fn map(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<aya::maps::Map> {
    ebpf.take_map(name).with_context(|| format!("the eBPF object lacks {name}"))
}

/// Descriptors of the programs that count.
fn counting(ebpf: &mut Ebpf) -> anyhow::Result<Vec<(Direction, OwnedFd)>> {
    [(Direction::Sent, "tcp_send_reset"), (Direction::Received, "tcp_receive_reset")]
        .into_iter()
        .map(|(direction, name)| {
            let program: &mut BtfTracePoint = program(ebpf, name)?.try_into()?;
            Ok((direction, program.fd()?.as_fd().try_clone_to_owned()?))
        })
        .collect()
}

fn watch_only(ebpf: &mut Ebpf, netns: &[u32]) -> anyhow::Result<()> {
    let mut allowed: HashMap<_, u32, u8> =
        HashMap::try_from(ebpf.map_mut("NETNS").context("the eBPF object lacks NETNS")?)?;
    for inode in netns {
        allowed.insert(inode, 1, 0).context("too many --netns: at most 1024")?;
    }
    Ok(())
}

/// What the programs are told; see `rstwatch-common/src/settings.rs`.
fn settings(btf: &Btf, scope: &Scope, limits: &Limits) -> Settings {
    let interval = 1_000_000_000 / u64::from(limits.rate.max(1));
    let has_reason = btf.tracepoint_arguments("tcp_send_reset").is_some_and(|arguments| arguments >= 3);
    // nf_send_reset got its `sk` in Linux 5.15, before the packet.
    let reject_skb_arg = if btf.function_parameters("nf_send_reset") == Some(3) { 1 } else { 2 };
    Settings {
        has_reason: has_reason.into(),
        filter_netns: (!scope.netns.is_empty()).into(),
        filter_cgroup: scope.cgroup.is_some().into(),
        reject_skb_arg,
        netfilter_drop: netfilter_drop(btf).unwrap_or(u32::MAX),
        // Without reasons in the event there is nothing to compare with.
        invalid_syn: enumerator(btf, "sk_rst_reason", "SK_RST_REASON_INVALID_SYN")
            .filter(|_| has_reason)
            .unwrap_or(u32::MAX),
        cgroup: scope.cgroup.unwrap_or(0),
        detail_interval_ns: interval,
        detail_burst_ns: interval.saturating_mul(limits.burst.into()),
        ..Settings::UNSET
    }
}

/// `SKB_DROP_REASON_NETFILTER_DROP` of this kernel.
fn netfilter_drop(btf: &Btf) -> Option<u32> {
    enumerator(btf, "skb_drop_reason", "SKB_DROP_REASON_NETFILTER_DROP")
}

fn enumerator(btf: &Btf, of: &str, wanted: &str) -> Option<u32> {
    btf.enumerators(of)?.into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
}
