//! `rstwatch check`: what this kernel and these privileges allow.

use std::fmt::Write as _;
use std::io::Write;

use crate::identity::owner;
use crate::kernel::attach::{self, Limits};
use crate::kernel::scope::Scope;
use crate::privileges::prospect;
use crate::privileges::rights::{self, Held, Right};
use crate::probe::{Probe, Probes};
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::text::count;

/// Prints the survey; returns whether the agent can run.
///
/// # Errors
/// If stdout cannot be written.
pub fn run() -> anyhow::Result<bool> {
    let survey = survey();
    std::io::stdout().write_all(table(&survey).as_bytes())?;
    Ok(survey.probes.ready())
}

/// What this kernel and these privileges allow, for `rstwatch check`.
#[derive(Clone, Debug)]
struct Survey {
    /// Release of the running kernel.
    kernel: String,
    /// Each probe.
    probes: Probes,
    /// Capabilities that matter here.
    rights: Vec<Right>,
    /// How many others are held.
    other_rights: usize,
    /// What becomes of them and of the rest once everything is attached.
    prospect: Vec<(&'static str, String)>,
    /// What else matters.
    notes: Vec<String>,
}

/// Tries everything, and leaves nothing attached.
fn survey() -> Survey {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let limits = Limits { ring_bytes: 1 << 16, rate: 1, burst: 1 };
    let (probes, mut notes) = attach::survey(&Scope::default(), &limits);
    notes.extend(owner::limits().map(str::to_owned));
    let rights = rights::of(&probes);
    Survey { kernel, probes, rights, other_rights: rights::others(), prospect: prospect(), notes }
}

fn table(survey: &Survey) -> String {
    let Survey { kernel, probes, notes, .. } = survey;
    let mut out = format!("kernel {}\n\ncapabilities\n", printable(kernel));
    out += &capabilities(survey);
    out += "\nonce everything is attached\n";
    out.extend(survey.prospect.iter().map(|(part, what)| format!("  {part:12}  {what}\n")));
    out += "\nprobes\n";
    out += &rows(probes);
    if !notes.is_empty() {
        out += "\nnotes\n";
        out.extend(notes.iter().map(|note| format!("  {}\n", printable(note))));
    }
    out + "\n" + &conclusion(probes)
}

fn capabilities(Survey { rights, other_rights, .. }: &Survey) -> String {
    let row = |Right { name, held, wanted, purpose }: &Right| {
        let held = match held {
            Held::Yes => "yes",
            Held::Implied => "yes, by CAP_SYS_ADMIN",
            Held::No => "no",
        };
        let wanted = if *wanted { "needed" } else { "not needed here" };
        format!("  {name:13}  {held:21}  {wanted:15}  {purpose}\n")
    };
    let mut rows: String = rights.iter().map(row).collect();
    if *other_rights > 0 {
        _ = writeln!(rows, "  {} held, not needed", count(*other_rights as u64, "other", "others"));
    }
    rows
}

fn rows(Probes(probes): &Probes) -> String {
    let width = probes.iter().map(|probe| probe.name.len()).max().unwrap_or(0);
    let row = |probe: &Probe| {
        let Probe { name, required, attached, detail, degrades } = probe;
        let required = if *required { "required" } else { "optional" };
        let mut row = format!("  {name:width$}  {:8}  {required}", probe.state());
        if !detail.is_empty() {
            _ = write!(row, "  {}", printable(detail));
        }
        if !attached {
            _ = write!(row, "; without it: {degrades}");
        }
        row + "\n"
    };
    probes.iter().map(row).collect()
}

fn conclusion(probes: &Probes) -> String {
    let missing: Vec<_> = probes.missing().map(|probe| probe.name).collect();
    let degraded = probes.0.iter().filter(|probe| !probe.attached).count();
    match (missing.is_empty(), degraded) {
        (false, _) => format!("The agent cannot run here: {} missing.\n", missing.join(", ")),
        (true, 0) => "The agent can run here, with all its evidence.\n".to_owned(),
        (true, 1) => "The agent can run here; one probe is missing, and costs what is said above.\n".to_owned(),
        (true, n) => format!("The agent can run here; {n} probes are missing, and cost what is said above.\n"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn probe(name: &'static str, required: bool, attached: bool, detail: &str) -> Probe {
        Probe { name, required, attached, detail: detail.into(), degrades: "TTL of received resets" }
    }

    fn sample(required_attached: bool) -> Survey {
        Survey {
            kernel: "6.18.44".into(),
            probes: Probes(vec![
                probe("tcp_send_reset", true, required_attached, if required_attached { "" } else { "EPERM" }),
                probe("cgroup_skb", false, true, "stands in for tcp_reset"),
                probe("nf_send_reset", false, false, "fentry is not allowed"),
            ]),
            rights: vec![
                Right { name: "CAP_BPF", held: Held::Implied, wanted: true, purpose: "loads" },
                Right { name: "CAP_NET_ADMIN", held: Held::No, wanted: false, purpose: "attaches" },
            ],
            other_rights: 1,
            prospect: vec![("capabilities", "all are given up".into()), ("seccomp", "few are left".into())],
            notes: vec!["lockdown is on".into()],
        }
    }

    #[test]
    fn the_table_reads_well() {
        expect![[r#"
            kernel 6.18.44

            capabilities
              CAP_BPF        yes, by CAP_SYS_ADMIN  needed           loads
              CAP_NET_ADMIN  no                     not needed here  attaches
              1 other held, not needed

            once everything is attached
              capabilities  all are given up
              seccomp       few are left

            probes
              tcp_send_reset  ok        required
              cgroup_skb      fallback  optional  stands in for tcp_reset
              nf_send_reset   missing   optional  fentry is not allowed; without it: TTL of received resets

            notes
              lockdown is on

            The agent can run here; one probe is missing, and costs what is said above.
        "#]]
        .assert_eq(&table(&sample(true)));
        assert!(table(&sample(false)).ends_with("The agent cannot run here: tcp_send_reset missing.\n"));
    }
}
