//! `rstwatch agent`: collects verdicts until it is stopped, and serves them over HTTP.

use std::path::Path;
use std::sync::Arc;

use exporter_web::WebConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::capacity::Capacity;
use crate::capacity::scanner::Scanner;
use crate::capture::{Attachment, Capture};
use crate::command::config::Config;
use crate::command::runtime::{Signal, Signals, block_on, hold_reload, hold_signals};
use crate::command::settings::{AgentSettings, capture_settings, with_kubernetes};
use crate::export::{AppState, Build, server};
use crate::identity::owner::Owners;
use crate::kernel::counts::MISSED;
use crate::kernel::scan::PeriodicScan;
use crate::kernel::{object, summary};
use crate::sandbox::{Needs, lockdown};
use crate::stats::aggregate::{Aggregate, Sums};
use crate::stats::history::History;
use crate::stats::idle_timeouts::SharedIdleTimeouts;
use crate::stats::timeline::Timeline;
use rstwatch_verdict::cause::Direction;
use rstwatch_verdict::judged::Judged;

const BUILD: Build = Build { version: env!("CARGO_PKG_VERSION"), revision: object::REVISION, object: object::SHA256 };

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// One line, if it cannot listen or attach.
pub fn run(settings: AgentSettings) -> anyhow::Result<()> {
    hold_reload();
    // Listening comes before attaching: it fails more often and is cheap to undo.
    let web = settings.web_config.as_deref().map(WebConfig::open).transpose()?;
    let listeners = listen(&settings, web.as_deref())?;
    // Signals stay unblocked until here, because resolving listen addresses can take long.
    hold_signals();
    let attachment = Attachment::new(&settings.capture)?;
    summary::log(attachment.probes());
    // Threads inherit the reduced capabilities, so none may be started before this.
    lockdown(&needs(&settings, web.as_deref())).log();
    block_on(agent(settings, web, listeners, attachment))
}

/// The files that the agent reads while it runs, besides those of every command.
fn needs(settings: &AgentSettings, web: Option<&WebConfig>) -> Needs {
    let mut needs = settings.capture.needs();
    needs.add_files(settings.config.clone().into_iter().chain(web.into_iter().flat_map(WebConfig::files)).collect());
    needs
}

async fn agent(
    settings: AgentSettings,
    web: Option<Arc<WebConfig>>,
    listeners: Vec<std::net::TcpListener>,
    attachment: Attachment,
) -> anyhow::Result<()> {
    let mut signals = Signals::with_reload()?;
    let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<Result<_, _>>()?;
    let mut capture = Capture::start(attachment, &settings.capture, &settings.node)?;
    let findings = Findings::new(&settings, &capture);
    let _scan = start_capacity_scan(&settings, &mut capture, &findings);
    let state = AppState { web: web.clone(), ..findings.state(&settings, &capture) };
    let (stop, stopped) = watch::channel(false);
    let server = server(state, &settings.telemetry_path).max_requests(settings.max_requests);
    let server = tokio::spawn(server.serve(listeners, stopped));
    process_events(&mut capture, &findings, &mut signals, &settings, web.as_ref()).await;
    for event in capture.finish() {
        findings.record(event);
    }
    tracing::info!("ended: {}", Sums::of(&findings.aggregate.snapshot(|| capture.kernel_counts().ok())));
    findings.history.close();
    stop.send_replace(true);
    server.await?;
    Ok(())
}

/// Everything that verdicts are added to.
struct Findings {
    aggregate: Arc<Aggregate>,
    history: Arc<History>,
    timeline: Arc<Timeline>,
    idle_timeouts: Arc<SharedIdleTimeouts>,
    capacity: Arc<Capacity>,
    owners: Owners,
}

impl Findings {
    fn new(settings: &AgentSettings, capture: &Capture) -> Self {
        let idle_timeouts =
            SharedIdleTimeouts::new(settings.timeout_destinations, settings.timeout_series, capture.gaps_handle());
        Self {
            aggregate: Arc::new(Aggregate::new(settings.workload_limit)),
            history: Arc::default(),
            timeline: Arc::default(),
            idle_timeouts: Arc::new(idle_timeouts),
            capacity: Arc::default(),
            owners: capture.owners().clone(),
        }
    }

    fn record(&self, judged: Box<Judged>) {
        self.aggregate.record(&judged.event);
        self.timeline.record(&judged.event);
        self.idle_timeouts.record(&judged);
        self.history.push(Arc::from(judged));
    }

    fn state(&self, settings: &AgentSettings, capture: &Capture) -> AppState {
        AppState {
            node: Arc::clone(&settings.node),
            build: BUILD,
            probes: Arc::new(capture.probes().clone()),
            aggregate: Arc::clone(&self.aggregate),
            history: Arc::clone(&self.history),
            timeline: Arc::clone(&self.timeline),
            idle_timeouts: Arc::clone(&self.idle_timeouts),
            counts: capture.counts_handle(),
            capacity: Arc::clone(&self.capacity),
            kubernetes: capture.cluster_cache().cloned(),
            web: None,
            owners: Some(self.owners.clone()),
        }
    }
}

/// Scans queues and tables periodically, until the guard is dropped.
fn start_capacity_scan(settings: &AgentSettings, capture: &mut Capture, findings: &Findings) -> Option<PeriodicScan> {
    let counts = capture.counts_handle();
    let missed = move || {
        let resets = counts().map(|counts| counts.resets).unwrap_or_default();
        let missed =
            resets.iter().filter(|(direction, reason, _)| *direction == Direction::Sent && &**reason == MISSED);
        missed.map(|(_, _, count)| count).sum()
    };
    let (tables, scope) = capture.take_tables()?;
    let scanner = Scanner::new(tables, scope, settings.listener_series, missed, Arc::clone(&findings.capacity));
    let scan = scanner.named_by(findings.owners.clone()).start();
    scan.inspect_err(|error| tracing::error!("cannot scan queues and tables: {error}")).ok()
}

/// Processes events until a signal stops the agent.
async fn process_events(
    capture: &mut Capture,
    findings: &Findings,
    signals: &mut Signals,
    settings: &AgentSettings,
    web: Option<&Arc<WebConfig>>,
) {
    loop {
        tokio::select! {
            judged = capture.next() => match judged {
                Some(judged) => {
                    findings.record(judged);
                    // The rest of a batch, without a turn of the select for each.
                    while let Some(judged) = capture.pop() {
                        findings.record(judged);
                    }
                }
                None => return,
            },
            signal = signals.next() => match signal {
                Signal::Stop => return,
                Signal::Reload => reload(findings, settings, web),
            },
        }
    }
}

fn reload(findings: &Findings, settings: &AgentSettings, web: Option<&Arc<WebConfig>>) {
    if let Some(web) = web.cloned() {
        tokio::task::spawn_blocking(move || web.reload());
    }
    match &settings.config {
        Some(path) => reload_config(path, findings, settings),
        None if web.is_none() => tracing::info!("SIGHUP ignored: the agent was started without --config"),
        None => {}
    }
}

fn reload_config(path: &Path, findings: &Findings, settings: &AgentSettings) {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => return tracing::error!("{error:#}: keeping the previous configuration"),
    };
    let running = &settings.capture;
    let new = capture_settings(running.netns.clone(), running.cgroup.clone(), &config);
    let new = match with_kubernetes(new, &config, &settings.node) {
        Ok(new) => new,
        Err(error) => return tracing::error!("{error:#}: keeping the previous configuration"),
    };
    findings.aggregate.set_workload_limit(config.workload_limit);
    let limits = [config.timeout_destinations, config.timeout_series, config.listener_series];
    let applied = [settings.timeout_destinations, settings.timeout_series, settings.listener_series];
    if new == *running && limits == applied {
        tracing::info!("configuration read from {}", path.display());
    } else {
        tracing::warn!(
            "configuration read from {}: workload_limit is applied; the other changes need a restart",
            path.display()
        );
    }
}

fn listen(settings: &AgentSettings, web: Option<&WebConfig>) -> anyhow::Result<Vec<std::net::TcpListener>> {
    let scheme = if web.is_some_and(WebConfig::has_tls) { "https" } else { "http" };
    let mut listeners = Vec::new();
    for address in &settings.listen {
        let listener = address.bind()?;
        tracing::info!("listening on {scheme}://{}{}", listener.local_addr()?, settings.telemetry_path);
        listeners.push(listener);
    }
    Ok(listeners)
}
