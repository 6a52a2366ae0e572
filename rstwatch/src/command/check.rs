//! `rstwatch check`: whether the agent can run with this kernel and these privileges, and which evidence is lost.

use std::fmt::Write as _;
use std::io::Write;

use crate::command::settings::CheckSettings;
use crate::kernel::attach::dry_run;
use crate::kernel::capabilities::{self, Capability, Held};
use crate::kernel::memory::Tables;
use crate::kernel::probe::{Probe, Probes, Status};
use crate::kernel::scope::Scope;
use crate::kernel::settings::Limits;
use crate::sandbox;
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::text::count;

/// The result of the check.
#[derive(Clone, Debug)]
struct Findings {
    /// Release of the running kernel.
    kernel: String,
    /// State of each hook.
    probes: Probes,
    /// Capabilities that the agent can use.
    capabilities: Vec<Capability>,
    /// Number of other capabilities that this process holds.
    unneeded_capabilities: usize,
    /// Size of the kernel side's tables.
    tables: Tables,
    /// Effect of each part of the lockdown.
    lockdown: Vec<(&'static str, String)>,
    /// Other limits of this host.
    notes: Vec<String>,
}

/// Attaches every probe, detaches it again, and prints the result. Returns whether the agent can run.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(settings: CheckSettings) -> anyhow::Result<bool> {
    let findings = findings(settings);
    std::io::stdout().write_all(text(&findings).as_bytes())?;
    Ok(findings.probes.ready())
}

fn findings(CheckSettings { connection_limit, ring_buffer_bytes }: CheckSettings) -> Findings {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let tables = Tables::new(connection_limit);
    let limits = Limits { connections: tables.connections, ring_bytes: ring_buffer_bytes, rate: 1, burst: 1 };
    let (probes, mut notes) = dry_run(&Scope::default(), &limits);
    notes.extend(crate::identity::owner::limits().map(str::to_owned));
    Findings {
        kernel,
        capabilities: capabilities::of(&probes),
        unneeded_capabilities: capabilities::unneeded(),
        tables,
        lockdown: sandbox::preview(),
        probes,
        notes,
    }
}

fn text(findings: &Findings) -> String {
    let Findings { kernel, probes, lockdown, notes, .. } = findings;
    let mut out = format!("kernel {}\n\ncapabilities\n", printable(kernel));
    out += &capability_rows(findings);
    out += "\nlockdown after attaching\n";
    out.extend(lockdown.iter().map(|(part, effect)| format!("  {part:12}  {effect}\n")));
    out += &format!("\ntables\n{}", tables_row(findings.tables));
    out += "\nprobes\n";
    out += &groups(probes);
    if !notes.is_empty() {
        out += "\nnotes\n";
        out.extend(notes.iter().map(|note| format!("  {}\n", printable(note))));
    }
    out + "\n" + &conclusion(probes)
}

/// The room for connections, and why it is not more.
fn tables_row(tables: Tables) -> String {
    let Tables { connections, limit, .. } = tables;
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    let limit = limit.map_or_else(|| "none found".to_owned(), mebibytes);
    let kernel = mebibytes(tables.bytes());
    format!("  {connections} connections with full evidence, {kernel} of kernel memory; memory limit: {limit}\n")
}

fn capability_rows(Findings { capabilities, unneeded_capabilities, .. }: &Findings) -> String {
    let row = |Capability { name, held, needed, purpose }: &Capability| {
        let held = match held {
            Held::Yes => "yes",
            Held::Implied => "yes, by CAP_SYS_ADMIN",
            Held::No => "no",
        };
        let needed = if *needed { "needed" } else { "not needed here" };
        format!("  {name:13}  {held:21}  {needed:15}  {purpose}\n")
    };
    let mut rows: String = capabilities.iter().map(row).collect();
    if *unneeded_capabilities > 0 {
        _ = writeln!(rows, "  {} held, not needed", count(*unneeded_capabilities as u64, "other", "others"));
    }
    rows
}

/// The probes in three groups; empty groups are omitted.
fn groups(Probes(probes): &Probes) -> String {
    let width = probes.iter().map(|probe| probe.name.len()).max().unwrap_or(0);
    let rows = |in_group: fn(&Status) -> bool| -> String {
        probes.iter().filter(|probe| in_group(&probe.status)).map(|probe| row(probe, width)).collect()
    };
    let groups = [
        ("attached", rows(|status| matches!(status, Status::Attached | Status::Fallback { .. }))),
        ("replaced by a fallback", rows(|status| matches!(status, Status::Replaced { .. }))),
        ("missing", rows(|status| matches!(status, Status::Missing { .. }))),
    ];
    let filled = groups.iter().filter(|(_, rows)| !rows.is_empty());
    filled.map(|(group, rows)| format!("  {group}\n{rows}")).collect()
}

fn row(probe: &Probe, width: usize) -> String {
    let mut row = format!("    {:width$}", probe.name);
    if probe.required {
        row += "  required";
    }
    match &probe.status {
        Status::Attached => (),
        Status::Fallback { replaces } => _ = write!(row, "  instead of {}", replaces.join(", ")),
        Status::Replaced { why, by, lost: None } => {
            _ = write!(row, "  by {by}, same evidence; why: {}", printable(why));
        }
        Status::Replaced { why, by, lost: Some(lost) } => {
            _ = write!(row, "  by {by}; lost: {lost}; why: {}", printable(why));
        }
        Status::Missing { why } => _ = write!(row, "  lost: {}; why: {}", probe.evidence, printable(why)),
    }
    row.truncate(row.trim_end().len());
    row + "\n"
}

fn conclusion(probes: &Probes) -> String {
    let missing: Vec<_> = probes.missing().map(|probe| probe.name).collect();
    let missed = probes.0.iter().filter(|probe| probe.is_missed()).count();
    match (missing.is_empty(), missed) {
        (false, _) => format!("The agent cannot run here: {} missing.\n", missing.join(", ")),
        (true, 0) => "The agent can run here, with all its evidence.\n".to_owned(),
        (true, 1) => "The agent can run here; 1 probe is missing evidence: see \"lost\" above.\n".to_owned(),
        (true, n) => format!("The agent can run here; {n} probes are missing evidence: see \"lost\" above.\n"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn probe(name: &'static str, status: Status) -> Probe {
        Probe { name, required: false, status, evidence: "TTL of received resets" }
    }

    fn refused(why: &str) -> Status {
        Status::Missing { why: why.into() }
    }

    fn sample(required: Status) -> Findings {
        let replaced = |lost| Status::Replaced { why: "fentry: EPERM".into(), by: "cgroup_skb", lost };
        Findings {
            kernel: "6.18.44".into(),
            probes: Probes(vec![
                Probe { required: true, ..probe("tcp_send_reset", required) },
                probe("task", Status::Attached),
                probe("tcp_reset", replaced(None)),
                probe("cgroup_skb", Status::Fallback { replaces: vec!["tcp_reset", "tcp_conn_request"] }),
                probe("tcp_conn_request", replaced(Some("exact overflows"))),
                probe("nf_send_reset", refused("fentry is not allowed")),
            ]),
            capabilities: vec![
                Capability { name: "CAP_BPF", held: Held::Implied, needed: true, purpose: "loads" },
                Capability { name: "CAP_NET_ADMIN", held: Held::No, needed: false, purpose: "attaches" },
            ],
            unneeded_capabilities: 1,
            tables: Tables { wanted: 65_536, connections: 65_536, limit: Some(256 << 20) },
            lockdown: vec![("capabilities", "all are dropped".into()), ("seccomp", "few are left".into())],
            notes: vec!["lockdown is on".into()],
        }
    }

    #[test]
    fn probes_are_grouped_by_status() {
        expect![[r#"
            kernel 6.18.44

            capabilities
              CAP_BPF        yes, by CAP_SYS_ADMIN  needed           loads
              CAP_NET_ADMIN  no                     not needed here  attaches
              1 other held, not needed

            lockdown after attaching
              capabilities  all are dropped
              seccomp       few are left

            tables
              65536 connections with full evidence, 47 MiB of kernel memory; memory limit: 256 MiB

            probes
              attached
                tcp_send_reset    required
                task
                cgroup_skb        instead of tcp_reset, tcp_conn_request
              replaced by a fallback
                tcp_reset         by cgroup_skb, same evidence; why: fentry: EPERM
                tcp_conn_request  by cgroup_skb; lost: exact overflows; why: fentry: EPERM
              missing
                nf_send_reset     lost: TTL of received resets; why: fentry is not allowed

            notes
              lockdown is on

            The agent can run here; 2 probes are missing evidence: see "lost" above.
        "#]]
        .assert_eq(&text(&sample(Status::Attached)));
    }

    #[test]
    fn a_missing_required_probe_prevents_running() {
        let text = text(&sample(refused("EPERM")));
        assert!(text.ends_with("The agent cannot run here: tcp_send_reset missing.\n"), "{text}");
    }

    #[test]
    fn a_fallback_with_the_same_evidence_is_no_loss() {
        let replaced = Status::Replaced { why: "EPERM".into(), by: "cgroup_skb", lost: None };
        let probes = Probes(vec![
            probe("tcp_reset", replaced),
            probe("cgroup_skb", Status::Fallback { replaces: vec!["tcp_reset"] }),
        ]);
        assert_eq!(conclusion(&probes), "The agent can run here, with all its evidence.\n");
    }
}
