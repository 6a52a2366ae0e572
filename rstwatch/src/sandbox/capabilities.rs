//! Drops capabilities.

use std::fmt;
use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// `BPF_MAP_LOOKUP_ELEM` of bpf(2).
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;

/// The capabilities that were dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// What stays; see [`to_keep`].
    pub kept: CapabilitySet,
    /// The bounding set is empty, too. That takes `CAP_SETPCAP`; without it no_new_privs has the same effect.
    pub bounding: bool,
    /// Why the others could not be dropped.
    pub error: Option<String>,
}

/// Drops all except [`to_keep`].
pub fn drop_all() -> Dropped {
    let keep = to_keep();
    let bounding = empty_bounding_set();
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    let dropped = clear_ambient_capability_set().and_then(|()| set_capabilities(None, sets));
    Dropped { kept: keep, bounding, error: dropped.err().map(|error| error.to_string()) }
}

/// The capabilities of this thread that [`drop_all`] keeps.
pub fn to_keep() -> CapabilitySet {
    let permitted = capabilities(None).map(|sets| sets.permitted).unwrap_or(CapabilitySet::empty());
    kept(permitted, bpf_needs_capability())
}

/// Before Linux 5.19, and with the sysctl kernel.unprivileged_bpf_disabled, bpf(2) refuses even to read a map without
/// `CAP_BPF` or `CAP_SYS_ADMIN`. A capability that is not permitted cannot be kept.
fn kept(permitted: CapabilitySet, bpf_needs_one: bool) -> CapabilitySet {
    match bpf_needs_one {
        false => CapabilitySet::empty(),
        true if permitted.contains(CapabilitySet::BPF) => CapabilitySet::BPF,
        true => permitted & CapabilitySet::SYS_ADMIN,
    }
}

/// The name of the capability that is kept; `None` if none is.
pub fn name(kept: CapabilitySet) -> Option<&'static str> {
    [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN")]
        .into_iter()
        .find_map(|(one, name)| kept.contains(one).then_some(name))
}

/// Every capability of this kernel.
fn known() -> impl Iterator<Item = CapabilitySet> {
    let all = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    all.take_while(|one| capability_is_in_bounding_set(*one).is_ok())
}

/// Returns whether it is empty now.
fn empty_bounding_set() -> bool {
    let held: Vec<_> = known().filter(|one| capability_is_in_bounding_set(*one) == Ok(true)).collect();
    held.into_iter().all(|one| remove_capability_from_bounding_set(one).is_ok())
}

/// Whether bpf(2) is refused without capabilities. A thread of its own tries it, as capabilities belong to threads; if that
/// is not possible, the answer is yes.
pub fn bpf_needs_capability() -> bool {
    let tried = std::thread::Builder::new().name("bpf-trial".into()).spawn(|| {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        // No map has this descriptor: EBADF means that the kernel had accepted the caller.
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
    // SAFETY: the attribute outlives the call, and its size is passed.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, std::ptr::from_ref(&attr), size_of::<Element>()) };
    answer < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EBADF)
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.error {
            return write!(f, "capabilities could not be dropped: {why}");
        }
        write!(f, "capabilities: ")?;
        match name(self.kept) {
            Some(name) => write!(f, "only {name}, without which this kernel's bpf() does not read maps"),
            None => write!(f, "none"),
        }?;
        if self.bounding { Ok(()) } else { write!(f, " (the bounding set stays: CAP_SETPCAP is missing)") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_least_capability_that_reads_maps() {
        let (none, bpf, admin) = (CapabilitySet::empty(), CapabilitySet::BPF, CapabilitySet::SYS_ADMIN);
        let rest = CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
        for (permitted, needed, expected, shown) in [
            (bpf | admin | rest, false, none, None),
            (bpf | admin | rest, true, bpf, Some("CAP_BPF")),
            (bpf | rest, true, bpf, Some("CAP_BPF")),
            (admin | rest, true, admin, Some("CAP_SYS_ADMIN")),
            (admin | rest, false, none, None),
            (rest, true, none, None),
        ] {
            let found = kept(permitted, needed);
            assert_eq!((found, name(found)), (expected, shown), "{permitted:?} {needed}");
        }
    }
}
