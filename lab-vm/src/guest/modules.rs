//! The kernel modules that the lab needs, in loading order. There is no modprobe in the VM, so each module comes after its
//! dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

/// The modules by name. Those that a kernel has built in, or lacks, are skipped. crc32c_generic is listed because libcrc32c
/// requests it by an alias, so that no `depends=` names it.
const WANTED: [&str; 43] = [
    "crc32c_generic",
    "af_packet",
    "ipv6",
    "veth",
    "dummy",
    "sch_netem",
    "inet_diag",
    "tcp_diag",
    "unix_diag",
    "mptcp_diag",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_log_syslog",
    "nf_tables",
    "nft_counter",
    "nft_ct",
    "nft_limit",
    "nft_log",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_chain_nat",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_reject_netdev",
    "nft_compat",
    "nft_queue",
    "nft_socket",
    "nft_fib_inet",
    "ip_tables",
    "iptable_filter",
    "iptable_nat",
    "ip6_tables",
    "ip6table_filter",
    "ipt_REJECT",
    "ip6t_REJECT",
    "xt_tcpudp",
    "xt_conntrack",
    "xt_MASQUERADE",
    "xt_mark",
    "xt_comment",
];

/// A module to load, decompressed.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) image: Vec<u8>,
}

/// Reads the lab's modules from a folder such as /lib/modules/RELEASE, in loading order.
pub(crate) fn read_modules(folder: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find_modules(folder, &mut files)?;
    let mut images = BTreeMap::new();
    let mut depends = BTreeMap::new();
    let mut pending: Vec<String> = WANTED.map(str::to_owned).into();
    while let Some(name) = pending.pop() {
        let Some(file) = files.get(&name).filter(|_| !depends.contains_key(&name)) else {
            continue;
        };
        let image = read_decompressed(file)?;
        let needs = dependencies(&image).with_context(|| format!("{}", file.display()))?;
        pending.extend(needs.iter().cloned());
        depends.insert(name.clone(), needs);
        images.insert(name, image);
    }
    let order = loading_order(&WANTED, &depends)?;
    let module = |name: String| images.remove(&name).map(|image| Module { name, image });
    Ok(order.into_iter().filter_map(module).collect())
}

/// Collects the files of all modules below a folder, by module name.
fn find_modules(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find_modules(&entry.path(), files)?;
        } else if let Some((stem, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(stem.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

/// Reads and decompresses a module: not every kernel can decompress modules itself.
fn read_decompressed(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return Ok(fs::read(file)?),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{}: unknown compression", file.display()),
    };
    let output =
        Command::new(program).arg("-dc").arg(file).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} cannot decompress {}", file.display());
    }
    Ok(output.stdout)
}

/// The dependencies of a module, from its .modinfo section.
fn dependencies(image: &[u8]) -> Result<Vec<String>> {
    let elf = object::File::parse(image)?;
    let info = elf.section_by_name(".modinfo").context("no .modinfo")?.uncompressed_data()?;
    Ok(parse_depends(&String::from_utf8_lossy(&info)))
}

/// The names in the `depends=` fields of .modinfo.
fn parse_depends(info: &str) -> Vec<String> {
    let lists = info.split('\0').filter_map(|field| field.strip_prefix("depends="));
    let names = lists.flat_map(|list| list.split(',')).filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

/// The wanted modules and their dependencies, sorted so that each follows its dependencies.
fn loading_order(wanted: &[&str], depends: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>> {
    let mut sort = TopologicalSort { depends, open: BTreeSet::new(), done: Vec::new() };
    for name in wanted {
        sort.visit(name)?;
    }
    Ok(sort.done)
}

/// A depth-first topological sort.
struct TopologicalSort<'a> {
    depends: &'a BTreeMap<String, Vec<String>>,
    /// Modules whose dependencies are being visited; used to detect cycles.
    open: BTreeSet<&'a str>,
    done: Vec<String>,
}

impl TopologicalSort<'_> {
    fn visit(&mut self, name: &str) -> Result<()> {
        // A module without a file is built into the kernel, or not part of it.
        let Some((name, needs)) = self.depends.get_key_value(name) else {
            return Ok(());
        };
        if self.done.contains(name) {
            return Ok(());
        }
        if !self.open.insert(name) {
            bail!("module {name} depends on itself");
        }
        for need in needs {
            self.visit(need)?;
        }
        self.done.push(name.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lines: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        lines.iter().map(|(name, needs)| ((*name).to_owned(), parse_depends(&format!("depends={needs}\0")))).collect()
    }

    #[test]
    fn parses_depends_fields() {
        assert_eq!(
            parse_depends("alias=x\0depends=nf_tables,nf-reject-ipv4\0name=nft_reject\0"),
            ["nf_tables", "nf_reject_ipv4"]
        );
        assert!(parse_depends("depends=\0name=veth\0").is_empty());
    }

    #[test]
    fn orders_each_module_once_after_its_dependencies() {
        let table = table(&[
            ("nft_ct", "nf_conntrack,nf_tables"),
            ("nf_conntrack", "nf_defrag"),
            ("nf_tables", ""),
            ("nf_defrag", ""),
        ]);
        let got = loading_order(&["nft_ct", "nf_tables", "ipv6"], &table).unwrap();
        assert_eq!(got, ["nf_defrag", "nf_conntrack", "nf_tables", "nft_ct"]);
    }

    #[test]
    fn rejects_a_dependency_cycle() {
        let table = table(&[("a", "b"), ("b", "a")]);
        assert!(loading_order(&["a"], &table).unwrap_err().to_string().contains("depends on itself"));
    }
}
