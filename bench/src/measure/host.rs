//! The machine that was measured.

use std::fs;

use serde::Serialize;

/// What makes figures comparable, without identifying the host.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// The CPU's model.
    pub(crate) cpu: String,
    /// Number of CPUs that the measurement may use.
    pub(crate) cpus: usize,
    /// Whether it is a virtual machine.
    pub(crate) hypervisor: bool,
    /// Memory in GiB.
    pub(crate) memory_gib: u64,
    /// The kernel's version without the distribution's suffix.
    pub(crate) kernel: String,
    /// Date of the measurement, in UTC.
    pub(crate) day: String,
}

impl Machine {
    /// Describes this machine.
    pub(crate) fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let family = format!("{}, family {} model {}", value("model name"), value("cpu family"), value("model\t"));
        Self {
            cpu: family,
            cpus: crate::cpu::available().len(),
            hypervisor: value("flags").split(' ').any(|flag| flag == "hypervisor"),
            memory_gib: memory_gib(),
            kernel: kernel(),
            day: day(),
        }
    }
}

fn memory_gib() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = kib.and_then(|kib| kib.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib.div_ceil(1 << 20)
}

/// The leading digits and dots of the kernel's release.
fn kernel() -> String {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    release.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
}

fn day() -> String {
    dev_support::command::stdout(std::process::Command::new("date").args(["-u", "+%Y-%m-%d"])).unwrap_or_default()
}
