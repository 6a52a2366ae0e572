//! The programs under test: three watchers and the daemon, started once for the lab.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use dev_support::port::ReservedPort;

use crate::api::Api;
use crate::kernel;
use crate::network::net::Net;
use crate::wait::until_true;
use crate::watchers::event::Event;
use crate::watchers::metrics::Metrics;
use crate::watchers::program::{Program, STARTS};
use crate::watchers::vantage::Vantage;

/// Timeout for a page of the daemon.
const PAGE: Duration = Duration::from_secs(5);

/// The name of this node in the fake API.
pub(crate) const NODE: &str = "lab";

/// The capabilities that deploy/ grants.
const CAPABILITIES: &str = "-all,+bpf,+perfmon,+net_admin";

/// All programs under test.
pub(crate) struct Agents {
    watchers: Vec<Watcher>,
    pub(crate) daemon: Daemon,
    /// Serves pods to the daemon. The watchers have no API.
    pub(crate) api: Api,
    at_start: Metrics,
}

impl Agents {
    pub(crate) fn start(net: &Net, rstwatch: &Path) -> Result<Self> {
        let watcher = |vantage| Watcher::start(net, rstwatch, vantage);
        let watchers = Vantage::EACH.into_iter().map(watcher).collect::<Result<_>>()?;
        let api = Api::start(NODE)?;
        let daemon = Daemon::start(net, rstwatch, &api)?;
        let at_start = daemon.metrics()?;
        Ok(Self { watchers, daemon, api, at_start })
    }

    /// Whether the daemon has attached the probe.
    pub(crate) fn has_probe(&self, name: &str) -> bool {
        self.at_start.has_probe(name)
    }

    /// The events of one watcher about a server port so far.
    pub(crate) fn events(&self, vantage: Vantage, port: u16) -> Vec<Event> {
        let theirs = self.watchers.iter().filter(|watcher| watcher.vantage == vantage);
        theirs.flat_map(|watcher| watcher.program.events(port)).collect()
    }

    /// Ends all programs. Returns a sentence for each fault.
    pub(crate) fn end(&mut self) -> Vec<String> {
        let watchers = self.watchers.iter_mut();
        let named = watchers.map(|watcher| (watcher.vantage.name(), &mut watcher.program));
        let all = named.chain([("daemon", &mut self.daemon.program)]);
        all.filter_map(|(name, program)| Some(format!("{name}: {:#}", program.end().err()?))).collect()
    }
}

struct Watcher {
    vantage: Vantage,
    program: Program,
}

impl Watcher {
    fn start(net: &Net, rstwatch: &Path, vantage: Vantage) -> Result<Self> {
        let mut command = with_capabilities(rstwatch);
        command.args(["trace", "--json"]);
        restrict_to(&mut command, net, vantage);
        let mut program = Program::start(net, &mut command)?;
        let name = vantage.name();
        program.wait_for_line("watching").with_context(|| format!("rstwatch trace ({name})"))?;
        Ok(Self { vantage, program })
    }
}

/// The daemon, which watches every namespace, for its metrics.
pub(crate) struct Daemon {
    program: Program,
    client: ureq::Agent,
    port: ReservedPort,
}

impl Daemon {
    fn start(net: &Net, rstwatch: &Path, api: &Api) -> Result<Self> {
        let port = ReservedPort::new()?;
        let at = port.address();
        let mut command = with_capabilities(rstwatch);
        command.args(["agent", "--web.listen-address", &at.to_string()]).arg("--config").arg(api.config());
        // Without a filter the daemon also counts resets that a busy kernel did not pass to its programs. With a filter it cannot
        // know whether those were the lab's.
        if !kernel::is_ours() {
            restrict_to(&mut command, net, Vantage::All);
        }
        let mut program = Program::start(net, &mut command)?;
        // Loopback is never reached through a proxy.
        let client = ureq::Agent::config_builder().proxy(None).timeout_global(Some(PAGE));
        let client = client.build().new_agent();
        let ready = || {
            program.ensure_running()?;
            Ok(client.get(format!("http://{at}/readyz")).call().is_ok())
        };
        until_true("/readyz", STARTS, ready).context("rstwatch agent")?;
        Ok(Self { program, client, port })
    }

    pub(crate) fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.page()?))
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The page of metrics.
    pub(crate) fn page(&self) -> Result<String> {
        self.get("/metrics")
    }

    /// The response to a request for this path.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut answer =
            self.client.get(format!("http://{}{path}", self.port.address())).call().with_context(|| path.to_owned())?;
        Ok(answer.body_mut().read_to_string()?)
    }
}

/// The program with only the documented capabilities, as root in a container has them. So every row proves on every kernel
/// that they suffice.
fn with_capabilities(rstwatch: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", CAPABILITIES, "--inh-caps", "-all"]).arg(rstwatch);
    command
}

fn restrict_to(command: &mut Command, net: &Net, vantage: Vantage) {
    for host in vantage.hosts() {
        command.arg("--netns").arg(net.ns(*host).path());
    }
}
