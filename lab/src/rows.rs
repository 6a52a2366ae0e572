//! The scenarios, one file per family of rows, and the [`Scene`] that they use.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::network::host::{Family, Host, at};
use crate::network::net::Net;
use crate::network::nft::Rejects;
use crate::network::procnet::{State, states};
use crate::network::sock::{Listener, Tcp};
use crate::rows::table::{Idle, Row};
use crate::wait::{SOON, until_true};

mod admin;
mod keepalive;
mod unanswered;
mod app;
mod many;
mod process;
mod firewall;
mod extension;
mod forge;
mod ttl;
mod handshake;
mod idle;
mod timers;
pub(crate) mod limits;
mod middlebox;
mod mptcp;
mod nat;
mod untranslated;
mod nat_ends;
mod overload;
mod programs;
mod controls;
mod reboot;
mod idle_ends;
mod stream;
pub(crate) mod table;
pub(crate) mod idle_timeouts;
pub(crate) mod wire;

const HELLO: &[u8] = b"hello";
/// Shorter than the shortest idle time that counts.
const NEVER_IDLE: Duration = Duration::from_millis(900);

/// All rows, by family, in the order in which they run.
pub(crate) const FAMILIES: &[&[Row]] = &[
    app::ROWS,
    admin::ROWS,
    process::ROWS,
    stream::ROWS,
    idle::ROWS,
    keepalive::ROWS,
    unanswered::ROWS,
    idle_ends::ROWS,
    middlebox::ROWS,
    nat::ROWS,
    untranslated::ROWS,
    nat_ends::ROWS,
    forge::ROWS,
    extension::ROWS,
    ttl::ROWS,
    firewall::ROWS,
    overload::ROWS,
    timers::ROWS,
    reboot::ROWS,
    handshake::ROWS,
    mptcp::ROWS,
    limits::ROWS,
    many::ROWS,
    programs::nginx::ROWS,
    programs::nginx_timeouts::ROWS,
    programs::load::ROWS,
    programs::haproxy::ROWS,
    programs::checks::ROWS,
    programs::redis::ROWS,
    programs::postgres::ROWS,
    programs::mariadb::ROWS,
    programs::sshd::ROWS,
    programs::gunicorn::ROWS,
    programs::node::ROWS,
    programs::tls::ROWS,
    programs::oom::ROWS,
    programs::inline::ROWS,
    controls::ROWS,
];

/// The environment of one scenario. Its events are identified by its server port.
pub(crate) struct Scene<'a> {
    pub(crate) net: &'a Net,
    pub(crate) rejects: &'a Rejects,
    pub(crate) family: Family,
    pub(crate) port: u16,
    idle: RefCell<Vec<(Host, Idle)>>,
    busy_since: Cell<Option<Instant>>,
    /// Duration of the last exchange.
    exchange: Cell<Option<Duration>>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(net: &'a Net, rejects: &'a Rejects, family: Family, port: u16) -> Self {
        Self {
            net,
            rejects,
            family,
            port,
            idle: RefCell::default(),
            busy_since: Cell::default(),
            exchange: Cell::default(),
        }
    }

    /// The true idle times that the scenario stated.
    pub(crate) fn idle(&self) -> Vec<(Host, Idle)> {
        self.idle.borrow().clone()
    }

    /// States the idle time until now. To be called right before the operation that draws the reset, or right before the reset
    /// itself.
    fn idle_since(&self, since: Instant) {
        let silence = since.elapsed();
        self.idle_was(Host::Client, silence);
        self.idle_was(Host::Server, silence);
    }

    fn idle_was(&self, host: Host, silence: Duration) {
        // The last exchange began earlier by its duration.
        let slack = self.exchange.get().unwrap_or_default();
        self.idle.borrow_mut().push((host, Idle::Was(silence, silence + slack)));
    }

    /// States that traffic never pauses from now on. If a busy machine delays it too long, the row is made again: see
    /// [`Scene::was_too_slow`].
    fn busy(&self) {
        self.busy_since.set(Some(Instant::now()));
        self.streams();
    }

    /// States that traffic flows all the time, however long it takes.
    fn streams(&self) {
        self.idle.borrow_mut().extend([Host::Client, Host::Server].map(|host| (host, Idle::Busy)));
    }

    /// Whether a busy row took so long that its connection was idle after all.
    pub(crate) fn was_too_slow(&self) -> bool {
        self.busy_since.get().is_some_and(|since| since.elapsed() > NEVER_IDLE)
    }

    fn server(&self) -> SocketAddr {
        at(self.family.server(), self.port)
    }

    fn listen(&self) -> Result<Listener> {
        Listener::open(&self.net.server, self.server(), 16)
    }

    fn connect(&self) -> Result<Tcp> {
        Tcp::connect(&self.net.client, self.server())
    }

    /// A connection that has just been used in both directions: the client's end and the server's end.
    fn pair(&self) -> Result<(Tcp, Tcp)> {
        let listener = self.listen()?;
        let client = self.connect()?;
        let server = listener.accept()?;
        self.talk(&client, &server)?;
        Ok((client, server))
    }

    /// Exchanges a request and a response, and measures the duration.
    fn talk(&self, client: &Tcp, server: &Tcp) -> Result<()> {
        client.send(HELLO)?;
        server.receive(HELLO.len())?;
        self.timed(|| {
            server.send(HELLO)?;
            client.receive(HELLO.len())
        })
    }

    fn timed(&self, exchange: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        exchange()?;
        self.exchange.set(Some(begun.elapsed()));
        Ok(())
    }

    /// Waits until a socket of this scenario is in that state.
    fn reaches(&self, host: Host, state: State, timeout: Duration) -> Result<()> {
        let what = format!("{state:?} at {}", host.letter());
        self.becomes(&what, host, timeout, |states| states.contains(&state))
    }

    /// Waits until no socket of this scenario is left except in TIME_WAIT.
    fn is_over(&self, host: Host) -> Result<()> {
        let over = |states: &[State]| states.iter().all(|state| *state == State::TIME_WAIT);
        self.becomes("the sockets' end", host, SOON, over)
    }

    fn becomes(&self, what: &str, host: Host, timeout: Duration, is: impl Fn(&[State]) -> bool) -> Result<()> {
        let ns = self.net.ns(host);
        until_true(what, timeout, || Ok(is(&states(ns, self.port)?)))
    }

    /// The nft match for a client's packets to this scenario's server.
    fn to_server(&self) -> String {
        format!("tcp dport {}", self.port)
    }
}

/// Waits for an idle time to elapse.
fn idle(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds));
}
