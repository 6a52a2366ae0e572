//! Loads the eBPF object with the offsets and settings of the running kernel.

use anyhow::{Context, bail};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader, Pod};
use rstwatch_common::layout::ABSENT;
use rstwatch_common::settings::{SCRATCH_PER_CPU, SLOTS_PER_BUCKET, netns_filter, table_slots};
use zerocopy::IntoBytes;

use super::btf::{Btf, VMLINUX};
use super::netns::Netns;
use super::scope::Scope;
use super::settings::{self, Limits};
use super::{capabilities, layout, object};

/// The numbers of all CPUs that the kernel may ever bring up.
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// The loaded object: maps exist, programs wait to be verified.
pub(super) struct LoadedObject {
    /// The kernel's BTF, parsed by this crate.
    pub(super) btf: Btf,
    /// The same, parsed by aya.
    pub(super) aya_btf: aya::Btf,
    /// Programs and maps.
    pub(super) ebpf: Ebpf,
}

impl LoadedObject {
    /// Loads the object.
    pub(super) fn load(scope: &Scope, limits: &Limits) -> anyhow::Result<Self> {
        let btf = running_kernel()?;
        // The file is read once: the kernel returns it a page at a time.
        let aya_btf = aya::Btf::parse(btf.bytes(), aya::Endianness::default())
            .with_context(|| format!("{VMLINUX}: cannot be parsed"))?;
        let settings = settings::of(&btf, scope, limits);
        let layout = layout::resolve(&btf);
        if scope.netns_filter() == netns_filter::COOKIES && layout.net_cookie == ABSENT {
            bail!("--netns: this kernel's BTF lacks the cookie of a namespace: report it with the kernel's version");
        }
        let slots = table_slots(limits.connections);
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&aya_btf))
            .override_global("LAYOUT", layout.as_bytes(), true)
            .override_global("SETTINGS", settings.as_bytes(), true)
            .map_max_entries("EVENTS", limits.ring_bytes)
            .map_max_entries("ENDS", limits.connections)
            .map_max_entries("SLOTS", slots + SCRATCH_PER_CPU * possible_cpus()?)
            .map_max_entries("BUCKETS", slots / SLOTS_PER_BUCKET);
        let ebpf = loader.load(object::BYTES).map_err(|error| refused(&error))?;
        let mut object = Self { btf, aya_btf, ebpf };
        object.watch_only(&scope.netns)?;
        Ok(object)
    }

    /// A program by its name.
    pub(super) fn program(&mut self, name: &str) -> anyhow::Result<&mut Program> {
        self.ebpf.program_mut(name).with_context(|| no_program(name))
    }

    /// A program by its name, with the BTF that it is loaded with.
    pub(super) fn program_and_btf(&mut self, name: &str) -> anyhow::Result<(&mut Program, &aya::Btf)> {
        let program = self.ebpf.program_mut(name).with_context(|| no_program(name))?;
        Ok((program, &self.aya_btf))
    }

    /// Takes a map, by its name, out of the object.
    pub(super) fn take_map<T: TryFrom<Map, Error = MapError>>(&mut self, name: &str) -> anyhow::Result<T> {
        let map = self.ebpf.take_map(name).with_context(|| no_map(name))?;
        Ok(map.try_into()?)
    }

    /// Writes the only element of an array.
    pub(super) fn set<T: Pod>(&mut self, array: &str, value: T) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(array).with_context(|| no_map(array))?;
        Ok(Array::<&mut MapData, T>::try_from(map)?.set(0, value, 0)?)
    }

    /// Writes the map of watched network namespaces. If it is empty, the settings make the programs watch all.
    fn watch_only(&mut self, netns: &[Netns]) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut("NETNS").with_context(|| no_map("NETNS"))?;
        let mut allowed: HashMap<_, u64, u8> = HashMap::try_from(map)?;
        for one in netns {
            allowed.insert(one.key(), 1, 0).map_err(not_watched)?;
        }
        Ok(())
    }
}

/// The highest number of a CPU that the kernel may ever bring up, plus one.
fn possible_cpus() -> anyhow::Result<u32> {
    let text = std::fs::read_to_string(POSSIBLE_CPUS).with_context(|| format!("{POSSIBLE_CPUS} cannot be read"))?;
    last_cpu(&text).map(|last| last + 1).with_context(|| format!("{POSSIBLE_CPUS}: {text:?} is no list of CPUs"))
}

/// The last CPU of a list such as `0-3,8-11`.
fn last_cpu(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

/// The running kernel's BTF.
fn running_kernel() -> anyhow::Result<Btf> {
    let bytes = std::fs::read(VMLINUX)
        .with_context(|| format!("{VMLINUX}: this kernel has no BTF: use one built with CONFIG_DEBUG_INFO_BTF=y"))?;
    Btf::parse(bytes).with_context(|| format!("{VMLINUX}: cannot be parsed: report it with the kernel's version"))
}

/// Why a network namespace could not be added to those that are watched.
fn not_watched(error: MapError) -> anyhow::Error {
    match &error {
        MapError::SyscallError(call)
            if call.io_error.raw_os_error() == Some(rustix::io::Errno::TOOBIG.raw_os_error()) =>
        {
            anyhow::anyhow!("too many --netns: at most 1024")
        }
        _ => anyhow::Error::new(error).context("cannot add a --netns to the watched namespaces"),
    }
}

fn no_program(name: &str) -> String {
    format!("the eBPF object has no program {name}")
}

/// What to report if a map is not in the object.
pub(super) fn no_map(name: &str) -> String {
    format!("the eBPF object has no map {name}")
}

/// Why the object could not be loaded: nearly always missing privileges.
fn refused(error: &aya::EbpfError) -> anyhow::Error {
    tracing::debug!("{error:#}");
    let missing = capabilities::missing();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        return anyhow::anyhow!(
            "cannot load the eBPF object: not permitted without {missing}: run as root, or with the capabilities that rstwatch check names"
        );
    }
    let memory = if capabilities::locked_memory_is_limited() {
        "; before Linux 5.11 it needs locked memory: LimitMEMLOCK=infinity, ulimit -l unlimited"
    } else {
        ""
    };
    anyhow::anyhow!("cannot load the eBPF object: {error}: run rstwatch check to see what this host allows{memory}")
}

#[cfg(test)]
mod tests {
    use std::io;

    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn the_last_cpu_of_a_list_counts() {
        for (list, last) in
            [("0\n", Some(0)), ("0-3\n", Some(3)), ("0-3,8-11\n", Some(11)), ("0,2\n", Some(2)), ("\n", None)]
        {
            assert_eq!(last_cpu(list), last, "{list:?}");
        }
    }

    #[test]
    fn only_a_full_map_means_too_many_namespaces() {
        let says = |errno: rustix::io::Errno| {
            let io_error = io::Error::from(errno);
            format!("{:#}", not_watched(SyscallError { call: "bpf_map_update_elem", io_error }.into()))
        };
        assert_eq!(says(rustix::io::Errno::TOOBIG), "too many --netns: at most 1024");
        let other = says(rustix::io::Errno::NOMEM);
        assert!(other.starts_with("cannot add a --netns") && other.contains("os error 12"), "{other}");
    }
}
