//! From the arguments to the verdict: every row made, proven, watched and judged.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::LabArgs;
use super::agents::Agents;
use super::conserve::Conservation;
use super::judge;
use super::net::Net;
use super::nft::Rejects;
use super::place::Family;
use super::proof::Proof;
use super::report::{Got, MAKING, Report};
use super::rows::Scene;
use super::select::{BURST, ids, installed, missing, names};
use super::table::{ROWS, Row};

/// Below the source ports of the namespaces.
pub(super) const FIRST_PORT: u16 = 10_001;

pub(super) fn lab(args: &LabArgs) -> Result<()> {
    let wanted = |id: &str| args.rows.is_empty() || args.rows.iter().any(|row| names(row, id));
    let unknown = args.rows.iter().find(|row| !ids().any(|id| names(row, id)));
    if let Some(unknown) = unknown {
        bail!("no row {unknown:?}; there are {}", ids().collect::<Vec<_>>().join(" "));
    }
    let rstwatch = workspace().join(&args.rstwatch);
    ensure!(
        args.truth_only || rstwatch.is_file(),
        "no rstwatch at {}: build it with `cargo build --release`",
        args.rstwatch.display()
    );
    let started = Instant::now();
    let net = build()?;
    let agents = if args.truth_only { None } else { Some(Agents::start(&net, &rstwatch)?) };
    let mut lab = Lab::new(&net, agents)?;
    for _ in 0..args.repeat {
        for row in ROWS.iter().filter(|row| wanted(row.id)) {
            lab.row(row)?;
        }
    }
    lab.close(wanted(BURST), started)
}

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

pub(super) fn build() -> Result<Net> {
    ensure!(rustix::process::geteuid().is_root(), "the lab makes network namespaces: run it as root");
    for program in ["ip", "nft"] {
        ensure!(installed(program), "the lab needs the program {program}: install it");
    }
    Net::build().context("the lab's network")
}

struct Lab<'a> {
    net: &'a Net,
    rejects: Rejects,
    agents: Option<Agents>,
    conservation: Conservation,
    report: Report,
    port: u16,
    /// What each watcher had said of each port when its row was judged.
    judged: Vec<judge::Judged>,
}

impl<'a> Lab<'a> {
    fn new(net: &'a Net, agents: Option<Agents>) -> Result<Self> {
        let rejects = Rejects::default();
        let conservation = Conservation::begin(net, agents.as_ref())?;
        let report = Report::default();
        Ok(Self { net, rejects, agents, conservation, report, port: FIRST_PORT, judged: vec![] })
    }

    fn row(&mut self, row: &Row) -> Result<()> {
        if let Some(program) = missing(row) {
            let row = format!("row {}", row.id);
            self.report.skip(&row, &format!("no {program}"));
            return Ok(());
        }
        for family in row.families {
            self.play(row, *family)?;
            self.port += 1;
        }
        Ok(())
    }

    fn play(&mut self, row: &Row, family: Family) -> Result<()> {
        let name = format!("{} {}", row.id, family.name());
        let scene = Scene { net: self.net, rejects: &self.rejects, family, port: self.port };
        let agents = self.agents.as_ref();
        let counted = agents.filter(|_| row.flood).map(|agents| agents.daemon.metrics());
        let proof = Proof::begin(&scene)?;
        let made = (row.make)(&scene).and_then(|()| proof.end(&scene, row));
        if let Err(why) = made {
            eprintln!("row {name}: not produced: {why:#}");
            let got = Got::Else(format!("not produced: {why:#}"), Vec::new());
            self.report.enter(&name, MAKING, row.what.to_owned(), got);
            return Ok(());
        }
        eprintln!("row {name}: {} (port {})", row.what, self.port);
        let Some(agents) = agents else {
            self.report.enter(&name, MAKING, row.what.to_owned(), Got::Expected);
            return Ok(());
        };
        let judged = judge::row(agents, self.net, row, name, self.port, &mut self.report)?;
        self.judged.push(judged);
        if let Some(before) = counted {
            judge::flood(agents, row, before, &mut self.report);
        }
        Ok(())
    }

    fn close(mut self, burst: bool, started: Instant) -> Result<()> {
        let agents = self.agents.as_ref();
        self.conservation.check("rows", self.net, &self.rejects, agents, &mut self.report)?;
        if burst {
            self.conservation.burst(self.net, self.port)?;
            self.conservation.check(BURST, self.net, &self.rejects, agents, &mut self.report)?;
        }
        if let Some(agents) = &mut self.agents {
            judge::latecomers(agents, &self.judged, &mut self.report);
            let got = match agents.end().join("; ") {
                troubles if troubles.is_empty() => Got::Expected,
                troubles => Got::Else(troubles, Vec::new()),
            };
            self.report.enter("SIGTERM", "each", "ends cleanly".to_owned(), got);
        }
        eprintln!("the lab took {:.0} s", started.elapsed().as_secs_f32());
        match self.report.print() {
            0 => Ok(()),
            failed => bail!("{failed} lines of the lab's table failed"),
        }
    }
}
