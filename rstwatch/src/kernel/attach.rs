//! Loads the eBPF object for this kernel and attaches what it allows.
//!
//! A hook that this kernel refuses costs a named piece of evidence, never the whole agent; only the three tracepoints
//! are required.

mod counting;
mod each;
mod iterators;
mod verify;

use anyhow::{Context, bail};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::{Ebpf, EbpfLoader};
use rstwatch_common::settings::infer;
use rstwatch_verdict::reasons::Reasons;
use zerocopy::IntoBytes;

use super::btf::{Btf, VMLINUX};
use super::counts::Counters;
use super::gaps::GapMap;
use super::listeners::Listeners;
use super::reasons;
use super::sampler::Sampler;
use super::scope::Scope;
use super::tables::Tables;
use super::tasks::Tasks;
use super::walk::Walk;
use super::{constants, layout, object};
use crate::privileges::rights;
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
    /// Idle gaps by destination.
    pub gaps: GapMap,
    /// Finds the gaps that connections survive, once it is started.
    pub sampler: Option<Sampler>,
    /// What looks at queues and tables read here.
    pub tables: Tables,
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
    if !constants::has_reason(btf) {
        notes.push(
            "this kernel gives no reasons for resets: they are told from its fields, and are never certain".to_owned(),
        );
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
    sampler: Option<Sampler>,
    listeners: Option<Walk>,
    tasks: Option<Tasks>,
}

impl Loader {
    fn attached(scope: &Scope, limits: &Limits) -> anyhow::Result<Self> {
        let mut loader = Self::new(kernel_btf()?, scope, limits)?;
        loader.verify();
        loader.tasks()?;
        // What adds evidence comes first: a reset is not to be counted before it can be judged.
        loader.headers();
        loader.handshakes_and_challenges();
        let infer = loader.rejects() | loader.overflows();
        loader.drops(infer)?;
        loader.conntrack();
        loader.required();
        loader.unseen_senders();
        loader.seed();
        loader.sample();
        loader.listeners();
        loader.probes.sort_by_key(|probe| !probe.required);
        Ok(loader)
    }

    fn new(btf: Btf, scope: &Scope, limits: &Limits) -> anyhow::Result<Self> {
        // The file is read once: the kernel gives it in pieces of a page.
        let aya_btf = aya::Btf::parse(btf.bytes(), aya::Endianness::default())
            .with_context(|| format!("{VMLINUX}: cannot be parsed"))?;
        let settings = constants::settings(&btf, scope, limits);
        let layout = layout::resolve(&btf);
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&aya_btf))
            .override_global("LAYOUT", layout.as_bytes(), true)
            .override_global("SETTINGS", settings.as_bytes(), true)
            .map_max_entries("EVENTS", limits.ring_bytes);
        let mut ebpf = loader.load(object::BYTES).map_err(|error| refused(&error))?;
        watch_only(&mut ebpf, &scope.netns)?;
        Ok(Self { btf, aya_btf, ebpf, probes: Vec::new(), sampler: None, listeners: None, tasks: None })
    }

    /// All are loaded before the first is attached: verifying takes a while, and no reset must be counted on one side alone.
    fn required(&mut self) {
        let required = [
            ("inet_sock_set_state", "owners, idle times and the cause of late resets"),
            ("tcp_receive_reset", "received resets"),
            ("tcp_send_reset", "sent resets"),
        ];
        let loaded = required.map(|(name, _)| self.load_tracepoint(name));
        for ((name, degrades), loaded) in required.into_iter().zip(loaded) {
            let attached = loaded.and_then(|()| self.attach_loaded_tracepoint(name));
            self.record(name, attached, degrades);
            if let Some(probe) = self.probes.last_mut() {
                probe.required = true;
            }
        }
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

    /// Segments that sockets did not believe, and numbers of SYNs: the cgroup program sees both, where it stands in.
    fn handshakes_and_challenges(&mut self) {
        let stands_in = self.is_attached("cgroup_skb");
        let attached = self.fentry("tcp_conn_request");
        let without = if stands_in {
            "exact overflows of each listener: they are told from its drops"
        } else {
            "exact overflows of each listener; a bad ACK in a handshake looks like a connection that is not known"
        };
        self.record("tcp_conn_request", attached, without);
        if !stands_in {
            let attached = self.fentry("tcp_send_challenge_ack");
            self.record("tcp_send_challenge_ack", attached, "challenge ACKs, one sign of forgery");
        }
    }

    fn is_attached(&self, name: &str) -> bool {
        self.probes.iter().any(|probe| probe.name == name && probe.attached)
    }

    /// Firewall rejects, where they are made. Answers what has to be inferred.
    fn rejects(&mut self) -> u64 {
        let mut inferred = 0;
        for (name, kprobe, bit) in
            [("nf_send_reset", "k_nf_reset", infer::REJECTS_V4), ("nf_send_reset6", "k_nf_reset6", infer::REJECTS_V6)]
        {
            let attached = self.function(name, kprobe);
            if attached.is_err() {
                inferred |= bit;
            }
            self.record(name, attached, "firewall rejects whose RST no socket of this host receives");
        }
        inferred
    }

    /// Handshakes that end at a full accept queue. Answers what has to be inferred.
    fn overflows(&mut self) -> u64 {
        const WITHOUT: &str = "late resets by a full accept queue look like a restart";
        let v4 = self.function("tcp_v4_syn_recv_sock", "k_v4_syn_recv");
        let v6 = self.function("tcp_v6_syn_recv_sock", "k_v6_syn_recv");
        let inferred = if v4.is_ok() && v6.is_ok() { 0 } else { infer::OVERFLOWS };
        self.record("tcp_v4_syn_recv_sock", v4, WITHOUT);
        self.record("tcp_v6_syn_recv_sock", v6, WITHOUT);
        inferred
    }

    /// What could not be hooked is inferred from the segments that were dropped.
    fn drops(&mut self, wanted: u64) -> anyhow::Result<()> {
        if wanted == 0 {
            return Ok(());
        }
        let reasons = self.btf.tracepoint_arguments("kfree_skb").is_some_and(|arguments| arguments >= 3)
            && constants::drop_reason(&self.btf, "NETFILTER_DROP").is_some();
        let attached = if reasons {
            self.load_tracepoint("kfree_skb").and_then(|()| self.attach_loaded_tracepoint("kfree_skb"))
        } else {
            Err("this kernel gives no drop reasons".to_owned())
        };
        let mut infer: Array<_, u64> =
            Array::try_from(self.ebpf.map_mut("INFER").context("the eBPF object lacks INFER")?)?;
        infer.set(0, wanted, 0)?;
        let missing: Vec<_> = self.probes.iter().filter(|probe| !probe.attached).map(|probe| probe.name).collect();
        let stands_in = ["nf_send_reset", "nf_send_reset6", "tcp_v4_syn_recv_sock", "tcp_v6_syn_recv_sock"];
        let missing: Vec<_> = stands_in.into_iter().filter(|name| missing.contains(name)).collect();
        if attached.is_ok() && constants::drop_reason(&self.btf, "TCP_LISTEN_OVERFLOW").is_some() {
            let overflows = |probe: &&mut Probe| probe.name.ends_with("_syn_recv_sock") && !probe.attached;
            self.probes.iter_mut().filter(overflows).for_each(|probe| probe.degrades = "nothing, kfree_skb stands in");
        }
        self.record_stand_in("kfree_skb", &missing.join(", "), attached, "what those would show");
        Ok(())
    }

    /// A full conntrack table.
    fn conntrack(&mut self) {
        let attached = self.function("early_drop", "k_early_drop");
        self.record("early_drop", attached, "verdicts on a full conntrack table");
    }

    /// Answers that the tracepoint does not show, and RSTs that nothing answers.
    fn unseen_senders(&mut self) {
        let degrades = if constants::has_reason(&self.btf) {
            "repeated RSTs, one sign of forgery"
        } else {
            "resets sent without a socket or from TIME_WAIT: this kernel traces neither, so counts and late verdicts lack them"
        };
        for (name, kprobe) in [("tcp_v4_send_reset", "k_v4_send_reset"), ("tcp_v6_send_reset", "k_v6_send_reset")] {
            let attached = self.function(name, kprobe);
            self.record(name, attached, degrades);
        }
    }

    fn finish(self, unfiltered: bool) -> anyhow::Result<Attached> {
        let Self { btf, mut ebpf, probes, sampler, listeners, tasks, .. } = self;
        let probes = Probes(probes);
        if let Some(probe) = probes.missing().next() {
            bail!("cannot attach {}: {}: rstwatch check tells what this host allows", probe.name, probe.detail);
        }
        let reasons = reasons::of_kernel(&btf);
        let counters = Counters {
            counts: PerCpuArray::try_from(map(&mut ebpf, "COUNTS")?)?,
            losses: PerCpuArray::try_from(map(&mut ebpf, "LOSSES")?)?,
            reasons: reasons.clone(),
            // What a filter would have let through of what was missed, nobody knows.
            programs: if unfiltered { counting::programs(&ebpf, constants::has_reason(&btf))? } else { Vec::new() },
        };
        let events = RingBuf::try_from(map(&mut ebpf, "EVENTS")?)?;
        let gaps = GapMap { map: HashMap::try_from(map(&mut ebpf, "GAPS")?)?, jiffy: crate::clock::jiffy() };
        let gone = HashMap::try_from(map(&mut ebpf, "GONE")?)?;
        let attached = |name: &str| probes.0.iter().any(|probe| probe.name == name && probe.attached);
        let hooked = ["tcp_conn_request", "tcp_v4_syn_recv_sock", "tcp_v6_syn_recv_sock"].into_iter().all(attached);
        let evictions_seen = attached("early_drop");
        let unlisted = Array::try_from(map(&mut ebpf, "UNLISTED")?)?;
        let conntrack_full = HashMap::try_from(map(&mut ebpf, "CONNTRACK_FULL")?)?;
        let conntrack_ever_full = Array::try_from(map(&mut ebpf, "CONNTRACK_EVER_FULL")?)?;
        let tables = Tables {
            listeners: listeners.map(|walk| Listeners { walk, gone, unlisted, hooked }),
            sent: PerCpuHashMap::try_from(map(&mut ebpf, "SENT_BY_NETNS")?)?,
            conntrack_full,
            conntrack_ever_full,
            evictions_seen,
            tasks,
        };
        Ok(Attached { programs: ebpf, events, counters, reasons, probes, gaps, sampler, tables })
    }
}

/// Why the object itself could not be loaded: nearly always the want of privileges.
fn refused(error: &aya::EbpfError) -> anyhow::Error {
    tracing::debug!("{error:#}");
    let missing = rights::missing();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        return anyhow::anyhow!(
            "cannot load the eBPF object: not permitted without {missing}: run as root, or with the capabilities that rstwatch check names"
        );
    }
    let memory = if rights::locked_memory_is_limited() {
        "; before Linux 5.11 it needs locked memory: LimitMEMLOCK=infinity, ulimit -l unlimited"
    } else {
        ""
    };
    anyhow::anyhow!("cannot load the eBPF object: {error}: rstwatch check tells what this host allows{memory}")
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut aya::programs::Program> {
    ebpf.program_mut(name).with_context(|| format!("the eBPF object lacks {name}"))
}

fn map(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<Map> {
    ebpf.take_map(name).with_context(|| format!("the eBPF object lacks {name}"))
}

fn watch_only(ebpf: &mut Ebpf, netns: &[u32]) -> anyhow::Result<()> {
    let mut allowed: HashMap<_, u32, u8> =
        HashMap::try_from(ebpf.map_mut("NETNS").context("the eBPF object lacks NETNS")?)?;
    for inode in netns {
        allowed.insert(inode, 1, 0).context("too many --netns: at most 1024")?;
    }
    Ok(())
}
