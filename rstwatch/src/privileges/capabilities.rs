//! Capabilities: which are wanted, which are held, and giving them up.

use std::fmt;
use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// `BPF_MAP_LOOKUP_ELEM` of bpf(2).
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;

/// What became of the capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// `CAP_BPF` stays: before Linux 5.19 bpf(2) refuses even reading a map without it, where the sysctl
    /// kernel.unprivileged_bpf_disabled is set.
    pub keeps_bpf: bool,
    /// The bounding set is empty too. It needs `CAP_SETPCAP`; without it no_new_privs has the same effect.
    pub bounding: bool,
    /// Why the others could not be given up.
    pub error: Option<String>,
}

/// Gives up all that are held.
pub fn drop_all() -> Dropped {
    let keeps_bpf = bpf_needs_capability();
    let keep = if keeps_bpf { CapabilitySet::BPF } else { CapabilitySet::empty() };
    // Those that are not in the permitted set cannot stay.
    let permitted = capabilities(None).map(|sets| sets.permitted).unwrap_or(CapabilitySet::empty());
    let keep = keep & permitted;
    let bounding = empty_bounding_set();
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    let dropped = clear_ambient_capability_set().and_then(|()| set_capabilities(None, sets));
    Dropped { keeps_bpf, bounding, error: dropped.err().map(|error| error.to_string()) }
}

/// Every capability that this kernel knows.
fn known() -> impl Iterator<Item = CapabilitySet> {
    let all = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    all.take_while(|one| capability_is_in_bounding_set(*one).is_ok())
}

/// Whether it is empty now.
fn empty_bounding_set() -> bool {
    let held: Vec<_> = known().filter(|one| capability_is_in_bounding_set(*one) == Ok(true)).collect();
    held.into_iter().all(|one| remove_capability_from_bounding_set(one).is_ok())
}

/// Whether bpf(2) is refused to those without capabilities, tried on a thread of its own: capabilities are a thread's. Where
/// it cannot be tried, it is taken for refused.
pub fn bpf_needs_capability() -> bool {
    let tried = std::thread::Builder::new().name("bpf-trial".into()).spawn(|| {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        // No map has this descriptor: EBADF says that the kernel got as far as looking for it.
        set_capabilities(None, sets).is_err() || lookup_refused()
    });
    tried.ok().and_then(|trial| trial.join().ok()).unwrap_or(true)
}

fn lookup_refused() -> bool {
    /// `BPF_MAP_*_ELEM` of `union bpf_attr`.
    #[repr(C)]
    struct Element {
        map: i32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let attr = Element { map: -1, padding: 0, key: 0, value: 0, flags: 0 };
    // SAFETY: the attribute lives through the call, and its size is given.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, std::ptr::from_ref(&attr), size_of::<Element>()) };
    answer < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EBADF)
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.error {
            return write!(f, "capabilities could not be given up: {why}");
        }
        write!(f, "capabilities: ")?;
        match self.keeps_bpf {
            true => write!(f, "CAP_BPF alone, without which this kernel's bpf() does not read maps"),
            false => write!(f, "none"),
        }?;
        if self.bounding { Ok(()) } else { write!(f, " (the bounding set stays, for want of CAP_SETPCAP)") }
    }
}
