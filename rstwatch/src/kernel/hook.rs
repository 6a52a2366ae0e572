//! How a hook is declared: where it attaches, what it shows, and what its absence costs.
//!
//! The declarations themselves are in [`super::hooks`].

use super::features::Feature;
use rstwatch_verdict::cause::Direction;

/// A hook into the kernel.
#[derive(Debug)]
pub struct Hook {
    /// Its fixed name, the label `probe` of the metrics. Hooks on a function or a tracepoint are named after it.
    pub name: &'static str,
    /// Its source file in `rstwatch-ebpf/src/hooks`.
    pub source: &'static str,
    /// When it is attached.
    pub stage: Stage,
    /// On which condition it is attached.
    pub when: When,
    /// Features of the kernel that it needs.
    pub needs: &'static [&'static Feature],
    /// Programs that do its work, each in another way. The first that the kernel accepts is used.
    pub programs: &'static [Program],
    /// The evidence that it gives.
    pub evidence: &'static str,
    /// What is lost without it.
    pub lost: &'static str,
    /// What is lost instead on kernels without this feature.
    pub lost_without: Option<(&'static Feature, &'static str)>,
    /// The hook that is used in its place.
    pub fallback: Option<Fallback>,
    /// Which resets its programs add to the exact counts.
    pub counts: Counts,
}

/// A program of the eBPF object, by its name there, and how it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// To the tracepoint of the same name, with arguments typed by BTF.
    Tracepoint(&'static str),
    /// To the entry of the kernel function of the same name. The kernel itself has it, not a module.
    Fentry(&'static str),
    /// To the entry of the hook's function, in the kernel or in a module.
    Kprobe(&'static str),
    /// To packets that arrive at sockets of the root cgroup.
    CgroupIngress(&'static str),
    /// As an iterator.
    Iterate {
        /// The program.
        name: &'static str,
        /// What it iterates over (`bpf_iter__*`).
        over: &'static str,
        /// The map, if it iterates over a map's elements.
        map: Option<&'static str>,
    },
}

/// When a hook is attached. The order of the variants is the order in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// First: other programs need what it finds.
    Context,
    /// Before any reset is counted: each counted reset can be judged by this evidence.
    Evidence,
    /// Required. From here on resets are counted.
    Count,
    /// Last: this needs the others, or takes long.
    Complete,
}

/// On which condition a hook is attached.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// On none.
    Always,
    /// Only if this hook is attached.
    With(&'static str),
    /// Only if one of these hooks is not attached.
    WithoutAnyOf(&'static [&'static str]),
}

/// Another hook that gives the same evidence, or part of it.
#[derive(Debug)]
pub struct Fallback {
    /// Its name.
    pub hook: &'static str,
    /// What it needs of the kernel in order to do so.
    pub needs: &'static [&'static Feature],
    /// What is lost all the same.
    pub lost: Option<&'static str>,
    /// The bit in the map `INFER` by which it is asked to.
    pub infer: u64,
}

/// Which resets a hook's programs count.
#[derive(Clone, Copy, Debug)]
pub enum Counts {
    /// None.
    None,
    /// All of this direction that the hook sees.
    All(Direction),
    /// Those of this direction that the tracepoints do not show on kernels without this feature.
    Without(&'static Feature, Direction),
}

impl Hook {
    /// A hook with nothing but defaults, to complete a declaration with.
    pub(super) const DEFAULT: Self = Self {
        name: "",
        source: "",
        stage: Stage::Evidence,
        when: When::Always,
        needs: &[],
        programs: &[],
        evidence: "",
        lost: "",
        lost_without: None,
        fallback: None,
        counts: Counts::None,
    };

    /// Whether the agent is of no use without it.
    pub fn is_required(&self) -> bool {
        self.stage == Stage::Count
    }
}

impl Program {
    /// Its name in the eBPF object.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tracepoint(name) | Self::Fentry(name) | Self::Kprobe(name) | Self::CgroupIngress(name) => name,
            Self::Iterate { name, .. } => name,
        }
    }

    /// How it is attached, in the kernel's word.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Tracepoint(_) => "tracepoint",
            Self::Fentry(_) => "fentry",
            Self::Kprobe(_) => "kprobe",
            Self::CgroupIngress(_) => "cgroup_skb",
            Self::Iterate { .. } => "iterator",
        }
    }
}
