//! Well-known idle timeouts: candidates for an idle time that was seen, never findings.
//!
//! The data is `known_timeouts/known.toml`: vendors' documents and programs' shipped
//! defaults, as of 2026. Users override and extend it in the configuration.

use std::sync::OnceLock;
use std::time::Duration;

use crate::event::TimeoutCandidate;

pub use closer::Closer;

mod closer;
pub mod file;

/// Where a timeout lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a device that forwards packets.
    Device,
    /// In a program at an end of connections: client, server, proxy.
    End,
}

/// Which connections a program's timeout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Those that it opened, as a connection pool does.
    Client,
    /// Those that it accepted.
    Server,
    /// Both, as many proxies do.
    Proxy,
}

/// What the other side sees when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// A FIN, at once.
    Fin,
    /// An RST, at once or in answer to the next packet.
    Rst,
    /// Nothing.
    Silent,
}

/// The source of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The vendor's documentation or source code.
    Documented,
    /// Common knowledge.
    Memory,
}

/// One timeout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// The timeout; 0 in a user's entry removes the entries of that name.
    pub seconds: u32,
    /// The product that has it.
    pub who: String,
    /// Where it lives.
    pub place: Place,
    /// Which connections it ends; `None`: either, or not known.
    pub role: Option<Ends>,
    /// How the command names of its processes begin; `None`: any name, empty: it is a service that runs elsewhere.
    pub comm: Option<Vec<String>>,
    /// What the other side sees, if known.
    pub on_expiry: Option<Expiry>,
    /// Where it is documented; optional in users' entries.
    pub source: Option<Source>,
}

/// Timeouts by length; among equal ones the user's come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(Vec<Timeout>);

/// By how much a measured time may be too short: one tick of the slowest kernel clock (CONFIG_HZ=100).
const GRAIN: Duration = Duration::from_millis(10);

/// Maximum candidates; more would be noise.
const MAX_CANDIDATES: usize = 4;

/// Set once, when a command starts, so that one table applies to every event.
static CURRENT: OnceLock<Table> = OnceLock::new();

/// Adds the user's entries to the table of this process. Only the first call counts, before the first event.
pub fn install(own: &[Timeout]) {
    CURRENT.get_or_init(|| Table::shipped().with(own));
}

fn current() -> &'static Table {
    CURRENT.get_or_init(Table::shipped)
}

/// [`Table::fitting`] in the table of this process.
pub fn fitting(idle: Duration, closer: Option<Closer<'_>>) -> Vec<TimeoutCandidate> {
    current().fitting(idle, closer)
}

/// [`Table::exceeded_by`] in the table of this process.
pub fn exceeded_by(idle: Duration, closer: Option<Closer<'_>>) -> Vec<TimeoutCandidate> {
    current().exceeded_by(idle, closer)
}

impl Table {
    /// The table that comes with the program.
    pub fn shipped() -> Self {
        // A test parses it.
        Self(file::parse(include_str!("known_timeouts/known.toml")).unwrap_or_default())
    }

    /// Adds a user's entries: each replaces those of the same name; an entry of zero seconds only removes them.
    pub fn with(self, own: &[Timeout]) -> Self {
        let rest = self.0.into_iter().filter(|shipped| own.iter().all(|entry| entry.who != shipped.who));
        let mut all: Vec<_> = own.iter().filter(|entry| entry.seconds > 0).cloned().chain(rest).collect();
        all.sort_by_key(|entry| entry.seconds);
        Self(all)
    }

    /// Timeouts that fit the measured idle time before a timer-driven end.
    ///
    /// No timer fires early, so none is longer than the measurement by more than the clock's grain. Many programs look
    /// at their timers once a second, so one may be shorter by a second or 2 %; for short times by at most 20 %, because
    /// one second would fit anything.
    pub fn fitting(&self, idle: Duration, closer: Option<Closer<'_>>) -> Vec<TimeoutCandidate> {
        let idle = idle.as_secs_f64();
        self.candidates(closer, |timeout| {
            let late = f64::max(1.0, timeout * 0.02).min(timeout * 0.2);
            (-GRAIN.as_secs_f64()..=late).contains(&(idle - timeout))
        })
    }

    /// The longest timeouts that this idle time has exceeded.
    ///
    /// If the reset answered the next operation, the idle time is only an upper bound of the timeout.
    pub fn exceeded_by(&self, idle: Duration, closer: Option<Closer<'_>>) -> Vec<TimeoutCandidate> {
        let idle = idle.as_secs_f64();
        let exceeded = self.of(closer).map(|entry| f64::from(entry.seconds)).filter(|seconds| *seconds <= idle);
        exceeded
            .max_by(f64::total_cmp)
            .map(|longest| self.candidates(closer, |timeout| timeout >= longest * 0.99 && timeout <= longest * 1.01))
            .unwrap_or_default()
    }

    /// The entries that this closer may have, or all.
    fn of(&self, closer: Option<Closer<'_>>) -> impl Iterator<Item = &Timeout> {
        self.0.iter().filter(move |entry| closer.is_none_or(|closer| closer.may_have(entry)))
    }

    fn candidates(&self, closer: Option<Closer<'_>>, fits: impl Fn(f64) -> bool) -> Vec<TimeoutCandidate> {
        self.of(closer)
            .filter(|entry| fits(entry.seconds.into()))
            .take(MAX_CANDIDATES)
            .map(|entry| TimeoutCandidate { seconds: entry.seconds, who: entry.who.clone() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Role;

    const DEVICE: Option<Closer<'_>> = Some(Closer::Device);

    fn program(role: Role, comm: Option<&str>) -> Option<Closer<'_>> {
        Some(Closer::Program { role, comm })
    }

    fn who(found: &[TimeoutCandidate]) -> Vec<&str> {
        found.iter().map(|candidate| candidate.who.as_str()).collect()
    }

    fn own(seconds: u32, who: &str) -> Timeout {
        Timeout { seconds, who: who.into(), place: Place::End, role: None, comm: None, on_expiry: None, source: None }
    }

    #[test]
    fn the_shipped_file_can_be_read() {
        let shipped = file::parse(include_str!("known_timeouts/known.toml")).expect("readable");
        assert!(shipped.len() > 50);
        assert!(shipped.is_sorted_by_key(|entry| entry.seconds));
        assert!(shipped.iter().all(|entry| entry.seconds > 0 && entry.source.is_some()));
        let mut names: Vec<_> = shipped.iter().map(|entry| &entry.who).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), shipped.len(), "a configuration replaces entries by name");
    }

    #[test]
    fn a_timer_fits_its_timeout() {
        assert_eq!(
            who(&fitting(Duration::from_millis(60_400), None)),
            ["AWS ALB", "nginx upstream keepalive", ".NET HttpClient", "AWS Classic Load Balancer"]
        );
        assert_eq!(
            who(&fitting(Duration::from_millis(5_050), None)),
            ["Node http keep-alive", "Apache keep-alive", "uvicorn keep-alive", "CloudFront origin"]
        );
        assert!(fitting(Duration::from_secs(47), None).is_empty());
        assert!(fitting(Duration::from_millis(1_200), None).is_empty());
    }

    #[test]
    fn the_next_operation_gives_an_upper_bound() {
        assert_eq!(who(&exceeded_by(Duration::from_secs(400), None))[..1], ["Cloudflare client side"]);
        assert_eq!(who(&exceeded_by(Duration::from_secs(352), None))[..2], ["AWS NLB", "AWS NAT gateway"]);
        assert!(exceeded_by(Duration::from_secs(1), None).is_empty());
    }

    /// redis-server closed after 3.5 s; it was not a client's timeout of 4 s.
    #[test]
    fn no_candidate_is_longer_than_the_measurement() {
        assert!(fitting(Duration::from_millis(3_500), None).is_empty());
        assert!(fitting(Duration::from_millis(59_000), None).is_empty());
        // One tick short, because both ends of the measurement are truncated.
        assert!(who(&fitting(Duration::from_millis(4_990), None)).contains(&"Node http keep-alive"));
        assert!(fitting(Duration::from_millis(4_980), None).is_empty());
    }

    #[test]
    fn only_the_closing_end_is_a_candidate() {
        let five = |closer| fitting(Duration::from_millis(5_050), closer);
        assert_eq!(who(&five(program(Role::Client, None))), ["CloudFront origin"]);
        assert_eq!(who(&five(program(Role::Server, Some("node")))), ["Node http keep-alive"]);
        assert!(five(program(Role::Server, Some("redis-server"))).is_empty());
        assert!(five(program(Role::Client, Some("curl"))).is_empty(), "a service runs on no host of its users");
        let sixty = |closer| fitting(Duration::from_secs(60), closer);
        assert_eq!(
            who(&sixty(program(Role::Server, None))),
            ["AWS ALB", "AWS Classic Load Balancer"],
            "a proxy is both"
        );
        assert_eq!(who(&sixty(program(Role::Client, Some("nginx"))))[..1], ["nginx upstream keepalive"]);
    }

    #[test]
    fn devices_can_be_selected() {
        assert_eq!(who(&fitting(Duration::from_secs(300), DEVICE)), ["F5 BIG-IP"]);
        assert!(fitting(Duration::from_secs(75), DEVICE).is_empty());
        assert!(!who(&exceeded_by(Duration::from_secs(352), program(Role::Unknown, None))).contains(&"AWS NLB"));
    }

    #[test]
    fn entries_about_devices_name_no_program() {
        let shipped = Table::shipped().0;
        let devices = shipped.iter().filter(|entry| entry.place == Place::Device);
        assert!(devices.clone().count() > 10);
        assert!(devices.into_iter().all(|entry| entry.role.is_none() && entry.comm.is_none()));
        let no_role = |entry: &&Timeout| entry.place == Place::End && entry.role.is_none();
        assert_eq!(
            shipped.iter().filter(no_role).map(|it| it.who.as_str()).collect::<Vec<_>>(),
            ["Linux tcp_keepalive_time"]
        );
    }

    #[test]
    fn a_timeout_explains_only_some_causes() {
        use crate::cause::{Cause, Direction};
        let of = |cause, direction| Closer::of(cause, direction, Role::Client, Some("curl"));
        assert_eq!(of(Cause::IdleReaped, Direction::Sent), program(Role::Client, Some("curl")));
        assert_eq!(of(Cause::IdleReaped, Direction::Received), program(Role::Server, None));
        assert_eq!(of(Cause::MiddleboxIdle, Direction::Received), DEVICE);
        for cause in Cause::ALL.iter().filter(|cause| !matches!(cause, Cause::IdleReaped | Cause::MiddleboxIdle)) {
            assert_eq!(of(*cause, Direction::Received), None, "{cause}");
        }
    }

    #[test]
    fn users_entries_replace_shipped_ones() {
        let table = Table::shipped().with(&[own(47, "our proxy"), own(60, "AWS ALB"), own(0, ".NET HttpClient")]);
        assert_eq!(who(&table.fitting(Duration::from_secs(47), None)), ["our proxy"]);
        let sixty = table.fitting(Duration::from_secs(60), None);
        assert_eq!(who(&sixty)[..2], ["AWS ALB", "nginx upstream keepalive"], "the user's come first");
        assert!(!who(&sixty).contains(&".NET HttpClient"));
        let moved = Table::shipped().with(&[own(120, "AWS ALB")]);
        assert!(!who(&moved.fitting(Duration::from_secs(60), None)).contains(&"AWS ALB"));
        assert!(who(&moved.fitting(Duration::from_secs(120), None)).contains(&"AWS ALB"));
    }
}
