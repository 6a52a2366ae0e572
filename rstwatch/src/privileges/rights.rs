//! Which capabilities the agent wants on this kernel, which it holds, and what it costs to go without.

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::probe::Probes;

/// A capability that the agent may want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Its name.
    pub name: &'static str,
    /// Whether it is held.
    pub held: Held,
    /// Whether it is wanted on this kernel.
    pub wanted: bool,
    /// What for, and what is lost without it.
    pub purpose: &'static str,
}

/// Whether a capability is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Itself.
    Yes,
    /// `CAP_SYS_ADMIN` implies it.
    Implied,
    /// No.
    No,
}

const BPF: &str = "makes maps and loads programs: nothing works without it";
const PERFMON: &str = "loads programs that read the kernel's structures: nothing works without it";
const NET_ADMIN: &str = "attaches cgroup_skb, for tcp_reset cannot be hooked: no verdict on middleboxes without it";
const NO_NET_ADMIN: &str = "for cgroup_skb alone, where tcp_reset cannot be hooked";

/// What this process holds, and what it wants here as the probes show.
pub fn of(probes: &Probes) -> Vec<Right> {
    let held = capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    rights(held, probes.0.iter().any(|probe| probe.name == "cgroup_skb"))
}

fn rights(held: CapabilitySet, stands_in: bool) -> Vec<Right> {
    // Of these `CAP_SYS_ADMIN` implies the first two (include/linux/capability.h: bpf_capable, perfmon_capable).
    let admin = held.contains(CapabilitySet::SYS_ADMIN);
    let right = |name, one, implied, wanted, purpose| {
        let held = match (held.contains(one), admin && implied) {
            (true, _) => Held::Yes,
            (false, true) => Held::Implied,
            (false, false) => Held::No,
        };
        Right { name, held, wanted, purpose }
    };
    let net_admin = if stands_in { NET_ADMIN } else { NO_NET_ADMIN };
    vec![
        right("CAP_BPF", CapabilitySet::BPF, true, true, BPF),
        right("CAP_PERFMON", CapabilitySet::PERFMON, true, true, PERFMON),
        right("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN, false, stands_in, net_admin),
    ]
}

/// Those without which nothing works, and which are not held.
pub fn missing() -> Vec<&'static str> {
    let all = of(&Probes::default()).into_iter().filter(|right| right.wanted && right.held == Held::No);
    all.map(|right| right.name).collect()
}

/// Whether a process may lock little memory: kernels before 5.11 account maps so. It may raise the limit itself with
/// `CAP_SYS_RESOURCE`.
pub fn locked_memory_is_limited() -> bool {
    getrlimit(Resource::Memlock).current.is_some()
}

/// What refuses kprobes to those who hold `CAP_PERFMON`: Debian's kernels know a level of this sysctl beyond the usual ones, at
/// which perf_event_open(2) is for `CAP_SYS_ADMIN` alone.
pub fn kprobes_need() -> Option<&'static str> {
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    let level: i32 = level.trim().parse().ok()?;
    (level > 2).then_some("set kernel.perf_event_paranoid to 2, or give CAP_SYS_ADMIN")
}

/// How many others are held: none of them is wanted.
pub fn others() -> usize {
    let held = capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let wanted = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
    (held - wanted).bits().count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_and_wanted() {
        let (bpf, perfmon, net) = (CapabilitySet::BPF, CapabilitySet::PERFMON, CapabilitySet::NET_ADMIN);
        let cases = [
            (CapabilitySet::empty(), [Held::No, Held::No, Held::No]),
            (bpf | perfmon, [Held::Yes, Held::Yes, Held::No]),
            (CapabilitySet::SYS_ADMIN, [Held::Implied, Held::Implied, Held::No]),
            (CapabilitySet::SYS_ADMIN | bpf | net, [Held::Yes, Held::Implied, Held::Yes]),
        ];
        for (held, expected) in cases {
            for stands_in in [false, true] {
                let found = rights(held, stands_in);
                assert_eq!(found.iter().map(|right| right.held).collect::<Vec<_>>(), expected, "{held:?}");
                assert_eq!(found.iter().map(|right| right.wanted).collect::<Vec<_>>(), [true, true, stands_in]);
            }
        }
    }
}
