//! Which capabilities this process holds.

use rustix::thread::CapabilitySet;

/// What the agent wants, by name, and what for.
const WANTED: &[(&str, CapabilitySet)] = &[
    ("CAP_BPF (load programs and maps)", CapabilitySet::BPF),
    ("CAP_PERFMON (read kernel structures)", CapabilitySet::PERFMON),
    ("CAP_NET_ADMIN (the cgroup program)", CapabilitySet::NET_ADMIN),
];

/// Each wanted capability, and whether it is effective. `CAP_SYS_ADMIN` implies the first two.
pub fn held() -> Vec<(String, bool)> {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let admin = effective.contains(CapabilitySet::SYS_ADMIN);
    WANTED
        .iter()
        .map(|(name, capability)| {
            let implied = admin && *capability != CapabilitySet::NET_ADMIN;
            ((*name).to_owned(), implied || effective.contains(*capability))
        })
        .collect()
}
