//! Runs the lab: makes, proves, watches and judges every row.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use dev_support::{paths, programs};

use super::LabArgs;
use crate::checks::alerts;
use crate::checks::owners;
use crate::checks::proof::Proof;
use crate::checks::queues::{self, OverflowPacket};
use crate::judging::conserve::Conservation;
use crate::judging::judge::{self, Judge, MadeRow};
use crate::judging::judgement;
use crate::judging::report::{Got, MAKING, Report};
use crate::kernel::Kernel;
use crate::network::host::Family;
use crate::network::net::Net;
use crate::network::nft::Rejects;
use crate::rows::table::{FLOOD, Row, rows};
use crate::rows::{Scene, limits};
use crate::select::{ALERTS, BURST, OWNERS, QUEUES, ids, installed, missing, names};
use crate::watchers::agents::Agents;
use crate::watchers::vantage::Vantage;

/// First server port, below the source ports of the namespaces.
pub(crate) const FIRST_PORT: u16 = 10_001;

pub(crate) fn lab(args: &LabArgs) -> Result<()> {
    let wanted = |id: &str| args.rows.is_empty() || args.rows.iter().any(|row| names(row, id));
    let unknown = args.rows.iter().find(|row| !ids().any(|id| names(row, id)));
    if let Some(unknown) = unknown {
        bail!("no row {unknown:?}; choose from: {}", ids().collect::<Vec<_>>().join(" "));
    }
    let rstwatch = paths::root().join(&args.rstwatch);
    ensure!(
        args.truth_only || rstwatch.is_file(),
        "no rstwatch at {}: build it with `cargo build --release`",
        args.rstwatch.display()
    );
    let needs: Vec<&str> = rows().filter(|row| wanted(row.id)).flat_map(|row| row.needs).copied().collect();
    if let Err(why) = programs::unpack(&needs) {
        eprintln!("{why:#} (rows that need them are skipped)");
    }
    let started = Instant::now();
    let net = build()?;
    let agents = if args.truth_only { None } else { Some(Agents::start(&net, &rstwatch)?) };
    let mut lab = Lab::new(&net, agents)?;
    for run in 1..=args.repeat {
        let made = lab.make_all(run, &wanted)?;
        lab.judge(&made)?;
    }
    if wanted(QUEUES) {
        lab.check_queues();
    }
    if wanted(OWNERS) {
        lab.check_owners();
    }
    if wanted(ALERTS) {
        lab.check_alerts();
    }
    lab.close(wanted(BURST), started, args.json.as_deref())
}

pub(crate) fn build() -> Result<Net> {
    ensure!(rustix::process::geteuid().is_root(), "the lab makes network namespaces: run it as root");
    for program in ["ip", "nft"] {
        ensure!(installed(program), "the lab needs the program {program}: install it");
    }
    Net::build().context("the lab's network")
}

/// Maximum number of attempts at a scenario.
const TRIES: u32 = 4;

/// The result of one attempt at a scenario.
enum Attempt {
    /// The attempt counts; what was made, if there is something to judge.
    Done(Option<MadeRow>),
    /// The scenario has to be made again, for this reason.
    Again(String),
}

struct Lab<'a> {
    net: &'a Net,
    kernel: Kernel,
    rejects: Rejects,
    agents: Option<Agents>,
    conservation: Conservation,
    report: Report,
    port: u16,
}

impl<'a> Lab<'a> {
    fn new(net: &'a Net, agents: Option<Agents>) -> Result<Self> {
        let rejects = Rejects::default();
        let conservation = Conservation::begin(net, agents.as_ref())?;
        let (kernel, report) = (Kernel::running(), Report::default());
        Ok(Self { net, kernel, rejects, agents, conservation, report, port: FIRST_PORT })
    }

    fn make_all(&mut self, run: u32, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<MadeRow>> {
        let mut made = Vec::new();
        for row in rows().filter(|row| wanted(row.id)) {
            for family in row.families {
                made.extend(self.make_with_retries(row, *family, run)?);
            }
        }
        Ok(made)
    }

    /// Makes a row, again if the machine was too slow or if it made something else than its resets. Events of a discarded attempt
    /// are not judged, because each attempt has its own port.
    fn make_with_retries(&mut self, row: &'static Row, family: Family, run: u32) -> Result<Option<MadeRow>> {
        for attempt in 1..=TRIES {
            match self.make(row, family, run, attempt == TRIES)? {
                Attempt::Done(made) => return Ok(made),
                Attempt::Again(why) => eprintln!("row {} {}: {why}: trying again", row.id, family.name()),
            }
        }
        Ok(None)
    }

    /// Makes one scenario. The last attempt counts in any case.
    fn make(&mut self, row: &'static Row, family: Family, run: u32, is_last: bool) -> Result<Attempt> {
        // Some scenarios use the next port as well.
        self.port += 2;
        let name = format!("{} {}", row.id, family.name());
        let scene = Scene::new(self.net, &self.rejects, family, self.port);
        let obstacle = missing(row).map(|program| format!("no {program}")).or_else(|| (row.unless)(&scene));
        if let Some(why) = obstacle {
            self.report.skip(&format!("row {name}"), &why);
            self.report.not_judged(row, family, run, &self.kernel, Err(why));
            return Ok(Attempt::Done(None));
        }
        let counted = self.agents.as_ref().filter(|_| row.flood).map(|agents| agents.daemon.metrics());
        let proof = Proof::begin(&scene)?;
        let started = Instant::now();
        let made = (row.make)(&scene);
        let was_too_slow = scene.was_too_slow();
        let made = made.and_then(|()| proof.end(&scene, row));
        if let Err(why) = made {
            let why = format!("not produced: {why:#}");
            if !is_last {
                return Ok(Attempt::Again(why));
            }
            eprintln!("row {name}: {why}");
            self.report.enter(&name, MAKING, row.what.to_owned(), Got::Else(why.clone(), Vec::new()));
            self.report.not_judged(row, family, run, &self.kernel, Ok(why));
            return Ok(Attempt::Done(None));
        }
        eprintln!("row {name}: {} (port {}, {} ms)", row.what, self.port, started.elapsed().as_millis());
        let Some(agents) = self.agents.as_ref() else {
            self.report.enter(&name, MAKING, row.what.to_owned(), Got::Expected);
            return Ok(Attempt::Done(None));
        };
        if was_too_slow && !is_last {
            return Ok(Attempt::Again("too slow".to_owned()));
        }
        if let Some(before) = counted {
            let got = before.and_then(|before| judge::flooded(agents, row, &before));
            self.report.enter_result(&name, "metrics", format!("{FLOOD} sent"), got);
        }
        Ok(Attempt::Done(Some(MadeRow { row, family, port: self.port, run, idle: scene.idle() })))
    }

    fn judge(&mut self, made: &[MadeRow]) -> Result<()> {
        let Some(agents) = self.agents.as_ref() else { return Ok(()) };
        let judge = Judge::new(agents, self.net, &self.kernel)?;
        judge.wait_for_events(made);
        for row in made {
            for vantage in Vantage::EACH {
                self.report.judged(judge.row(row, vantage));
            }
        }
        Ok(())
    }

    /// Accept queues that overflow, with and without an RST for it.
    fn check_queues(&mut self) {
        for (packet, abort) in OverflowPacket::ALL.into_iter().flat_map(|packet| [(packet, false), (packet, true)]) {
            let row = format!("{QUEUES} {packet:?} tcp_abort_on_overflow={}", u8::from(abort));
            self.port += 2;
            let Some(agents) = &self.agents else {
                self.report.skip(&row, "no daemon");
                continue;
            };
            let got = queues::overflow(self.net, &agents.daemon, packet, abort, self.port);
            self.enter(&row, "each overflow counted at its listener and owner", got);
        }
    }

    /// Processes in cgroups such as container runtimes and systemd create.
    fn check_owners(&mut self) {
        for case in owners::CASES {
            let row = format!("{OWNERS} {}", case.name);
            self.port += 2;
            let Some(agents) = &self.agents else {
                self.report.skip(&row, "no daemon");
                continue;
            };
            match owners::named(self.net, agents, case, self.port).transpose() {
                Some(got) => self.enter(&row, "the owner named by its cgroup", got),
                None => self.report.skip(&row, "no cgroup can be made here"),
            }
        }
    }

    /// A conntrack table that fills up until the shipped alert fires.
    fn check_alerts(&mut self) {
        self.port += 2;
        if let Some(why) = limits::not_ours() {
            return self.report.skip(ALERTS, &why);
        }
        let Some(agents) = &self.agents else {
            return self.report.skip(ALERTS, "no daemon");
        };
        let got = alerts::conntrack_full(self.net, agents.daemon.address(), self.port);
        self.enter(ALERTS, "a full conntrack table fires its alert", got);
    }

    fn enter(&mut self, row: &str, expected: &str, got: Result<String>) {
        let got = match got {
            Ok(said) => {
                eprintln!("{row}: {said}");
                Got::Expected
            }
            Err(why) => Got::Else(format!("{why:#}"), Vec::new()),
        };
        self.report.enter(row, "metrics", expected.to_owned(), got);
    }

    fn close(mut self, burst: bool, started: Instant, json: Option<&Path>) -> Result<()> {
        let agents = self.agents.as_ref();
        self.conservation.check("rows", self.net, &self.rejects, agents, &mut self.report)?;
        if burst {
            self.conservation.burst(self.net, self.port + 2)?;
            self.conservation.check(BURST, self.net, &self.rejects, agents, &mut self.report)?;
        }
        if let Some(agents) = &mut self.agents {
            let got = match agents.end().join("; ") {
                troubles if troubles.is_empty() => Got::Expected,
                troubles => Got::Else(troubles, Vec::new()),
            };
            self.report.enter("SIGTERM", "each", "ends cleanly".to_owned(), got);
        }
        eprintln!("the lab took {:.0} s", started.elapsed().as_secs_f32());
        if let Some(path) = json {
            judgement::write(path, &self.report.judgements)?;
        }
        match self.report.print() {
            0 => Ok(()),
            failed => bail!("{failed} lines of the lab's table failed"),
        }
    }
}
