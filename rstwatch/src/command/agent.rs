//! `rstwatch agent`: watch, classify, serve.

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
/// If it cannot listen or attach, in one line.
pub fn run(settings: AgentSettings) -> anyhow::Result<()> {
    hold_reload();
    // Listening fails more often than attaching, and costs nothing to undo.
    let web = settings.web_config.as_deref().map(WebConfig::open).transpose()?;
    let listeners = listen(&settings, web.as_deref())?;
    // Not before: names of addresses are looked up until here, which may take long.
    hold_signals();
    let attachment = Attachment::new(&settings.capture)?;
    summary::log(attachment.probes());
    // No thread has been started yet: all inherit what is left of our rights.
    lockdown(&needs(&settings, web.as_deref())).log();
    block_on(agent(settings, web, listeners, attachment))
}

/// What is read and reached while it runs, beside what every command reads.
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
    let _looking = watch_capacity(&settings, &mut capture, &findings);
    let state = AppState { web: web.clone(), ..findings.state(&settings, &capture) };
    let (stop, stopped) = watch::channel(false);
    let server = server(state, &settings.telemetry_path).max_requests(settings.max_requests);
    let server = tokio::spawn(server.serve(listeners, stopped));
    take_events(&mut capture, &findings, &mut signals, &settings, web.as_ref()).await;
    for event in capture.finish() {
        findings.take(event);
    }
    tracing::info!("ended: {}", Sums::of(&findings.aggregate.snapshot(|| capture.kernel_counts().ok())));
    findings.history.close();
    stop.send_replace(true);
    server.await?;
    Ok(())
}

/// Where verdicts go.
struct Findings {
    aggregate: Arc<Aggregate>,
    history: Arc<History>,
    timeline: Arc<Timeline>,
    bounds: Arc<SharedIdleTimeouts>,
    capacity: Arc<Capacity>,
    owners: Owners,
}

impl Findings {
    fn new(settings: &AgentSettings, capture: &Capture) -> Self {
        let bounds =
            SharedIdleTimeouts::new(settings.timeout_destinations, settings.timeout_series, capture.gaps_handle());
        Self {
            aggregate: Arc::new(Aggregate::new(settings.workload_limit)),
            history: Arc::default(),
            timeline: Arc::default(),
            bounds: Arc::new(bounds),
            capacity: Arc::default(),
            owners: capture.owners().clone(),
        }
    }

    fn take(&self, judged: Judged) {
        self.aggregate.record(&judged.event);
        self.timeline.record(&judged.event);
        self.bounds.record(&judged);
        self.history.push(Arc::new(judged));
    }

    fn state(&self, settings: &AgentSettings, capture: &Capture) -> AppState {
        AppState {
            node: Arc::clone(&settings.node),
            build: BUILD,
            probes: Arc::new(capture.probes().clone()),
            aggregate: Arc::clone(&self.aggregate),
            history: Arc::clone(&self.history),
            timeline: Arc::clone(&self.timeline),
            bounds: Arc::clone(&self.bounds),
            counts: capture.counts_handle(),
            capacity: Arc::clone(&self.capacity),
            kubernetes: capture.cluster_cache().cloned(),
            web: None,
            owners: Some(self.owners.clone()),
        }
    }
}

/// Looks at queues and tables until the guard is dropped.
fn watch_capacity(settings: &AgentSettings, capture: &mut Capture, findings: &Findings) -> Option<PeriodicScan> {
    let counts = capture.counts_handle();
    let missed = move || {
        let resets = counts().map(|counts| counts.resets).unwrap_or_default();
        let missed = resets.iter().filter(|(way, reason, _)| *way == Direction::Sent && &**reason == MISSED);
        missed.map(|(_, _, count)| count).sum()
    };
    let (tables, scope) = capture.take_tables()?;
    let scanner = Scanner::new(tables, scope, settings.listener_series, missed, Arc::clone(&findings.capacity));
    let looking = scanner.named_by(findings.owners.clone()).start();
    looking.inspect_err(|error| tracing::error!("queues and tables are not looked at: {error}")).ok()
}

/// Takes events until it is told to stop.
async fn take_events(
    capture: &mut Capture,
    findings: &Findings,
    signals: &mut Signals,
    settings: &AgentSettings,
    web: Option<&Arc<WebConfig>>,
) {
    loop {
        tokio::select! {
            judged = capture.next() => match judged {
                Some(judged) => findings.take(judged),
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
        None if web.is_none() => tracing::info!("SIGHUP: no --config was given, nothing to read"),
        None => {}
    }
}

fn reload_config(path: &Path, findings: &Findings, settings: &AgentSettings) {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => return tracing::error!("{error:#}: the old configuration stays"),
    };
    let running = &settings.capture;
    let wanted = capture_settings(running.netns.clone(), running.cgroup.clone(), &config);
    let wanted = match with_kubernetes(wanted, &config, &settings.node) {
        Ok(wanted) => wanted,
        Err(error) => return tracing::error!("{error:#}: the old configuration stays"),
    };
    findings.aggregate.set_workload_limit(config.workload_limit);
    let limits = [config.timeout_destinations, config.timeout_series, config.listener_series];
    let applied = [settings.timeout_destinations, settings.timeout_series, settings.listener_series];
    if wanted == *running && limits == applied {
        tracing::info!("configuration read from {}", path.display());
    } else {
        tracing::warn!(
            "configuration read from {}: the node's name, sizes and rates of the kernel side, timeouts, listeners and Kubernetes change with a restart only",
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
