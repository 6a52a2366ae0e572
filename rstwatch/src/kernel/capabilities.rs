//! Which capabilities the agent needs on this kernel, which it holds, and what their absence costs.

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::hooks::PACKET_HOOK;
use super::probe::Probes;

/// A capability that the agent may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// Whether it is held.
    pub held: Held,
    /// Whether this kernel makes it necessary.
    pub needed: bool,
    /// Its purpose, and what is lost without it.
    pub purpose: &'static str,
}

/// Whether a capability is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is.
    Yes,
    /// `CAP_SYS_ADMIN` implies it.
    Implied,
    /// It is not.
    No,
}

const BPF: &str = "creates maps and loads programs: nothing works without it";
const PERFMON: &str = "loads programs that read the kernel's structures: nothing works without it";
const NET_ADMIN: &str = "attaches cgroup_skb, as tcp_reset cannot be hooked: no verdicts on middleboxes without it";
const NET_ADMIN_UNUSED: &str = "attaches cgroup_skb, which is used only where tcp_reset cannot be hooked";

/// The capabilities that matter to these probes.
pub fn of(probes: &Probes) -> Vec<Capability> {
    assess(effective(), probes.0.iter().any(|probe| probe.name == PACKET_HOOK))
}

fn assess(held: CapabilitySet, attaches_to_packets: bool) -> Vec<Capability> {
    // `CAP_SYS_ADMIN` implies the first two (include/linux/capability.h: bpf_capable, perfmon_capable).
    let admin = held.contains(CapabilitySet::SYS_ADMIN);
    let capability = |name, one, implied, needed, purpose| {
        let held = match (held.contains(one), admin && implied) {
            (true, _) => Held::Yes,
            (false, true) => Held::Implied,
            (false, false) => Held::No,
        };
        Capability { name, held, needed, purpose }
    };
    let net_admin = if attaches_to_packets { NET_ADMIN } else { NET_ADMIN_UNUSED };
    vec![
        capability("CAP_BPF", CapabilitySet::BPF, true, true, BPF),
        capability("CAP_PERFMON", CapabilitySet::PERFMON, true, true, PERFMON),
        capability("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN, false, attaches_to_packets, net_admin),
    ]
}

fn effective() -> CapabilitySet {
    capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty())
}

/// Capabilities without which nothing works, and which are not held.
pub fn missing() -> Vec<&'static str> {
    let all = of(&Probes::default()).into_iter();
    all.filter(|capability| capability.needed && capability.held == Held::No)
        .map(|capability| capability.name)
        .collect()
}

/// Whether the process may lock little memory, to which kernels before 5.11 charge maps. With `CAP_SYS_RESOURCE` it may raise
/// the limit itself.
pub fn locked_memory_is_limited() -> bool {
    getrlimit(Resource::Memlock).current.is_some()
}

/// What kprobes need beside `CAP_PERFMON`. Debian's kernels have a level of this sysctl above the usual ones, at which only
/// `CAP_SYS_ADMIN` permits perf_event_open(2).
pub fn kprobes_need() -> Option<&'static str> {
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    let level: i32 = level.trim().parse().ok()?;
    (level > 2).then_some("set kernel.perf_event_paranoid to 2, or grant CAP_SYS_ADMIN")
}

/// How many capabilities are held that the agent never needs.
pub fn unneeded() -> usize {
    let ours = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
    (effective() - ours).bits().count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_held_and_what_is_needed() {
        let (bpf, perfmon, net) = (CapabilitySet::BPF, CapabilitySet::PERFMON, CapabilitySet::NET_ADMIN);
        let cases = [
            (CapabilitySet::empty(), [Held::No, Held::No, Held::No]),
            (bpf | perfmon, [Held::Yes, Held::Yes, Held::No]),
            (CapabilitySet::SYS_ADMIN, [Held::Implied, Held::Implied, Held::No]),
            (CapabilitySet::SYS_ADMIN | bpf | net, [Held::Yes, Held::Implied, Held::Yes]),
        ];
        for (held, expected) in cases {
            for attaches_to_packets in [false, true] {
                let found = assess(held, attaches_to_packets);
                assert_eq!(found.iter().map(|one| one.held).collect::<Vec<_>>(), expected, "{held:?}");
                let needed: Vec<_> = found.iter().map(|one| one.needed).collect();
                assert_eq!(needed, [true, true, attaches_to_packets]);
            }
        }
    }
}
