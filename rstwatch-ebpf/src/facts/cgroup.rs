//! The cgroup of a socket, and the filter by cgroup.

use crate::kernel::{Base, offset, setting, value};

/// Steps towards the root that the cgroup filter takes.
const MAX_DEPTH: usize = 16;

/// The id of a socket's cgroup; 0 where unknown.
#[inline(never)]
pub fn cgroup_of(sk: impl Base) -> u64 {
    sk.follow(offset!(sk_cgroup)).map_or(0, |cgroup| cgroup_id(cgroup))
}

#[inline(always)]
fn cgroup_id(cgroup: impl Base) -> u64 {
    cgroup.follow(offset!(cgroup_kn)).map_or(0, |node| value!(node, kernfs_id, u64))
}

/// Whether the socket is in the watched cgroup or below. Without a filter every socket is.
#[inline(never)]
pub fn in_cgroup(sk: impl Base) -> bool {
    let sk = sk.address();
    if setting!(filter_cgroup) == 0 {
        return true;
    }
    let wanted = setting!(cgroup);
    let mut cgroup = value!(sk, sk_cgroup, u64);
    for _ in 0..MAX_DEPTH {
        if cgroup == 0 {
            return false;
        }
        if cgroup_id(cgroup) == wanted {
            return true;
        }
        // `self.parent` points at the `self` inside the parent.
        let parent = value!(cgroup, cgroup_parent, u64);
        cgroup = if parent == 0 { 0 } else { parent - offset!(cgroup_self) as u64 };
    }
    false
}
