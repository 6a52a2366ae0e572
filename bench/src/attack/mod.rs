//! `cargo xtask bench --only attack`: an attack on memory. One user opens as many connections as the machine takes, while the agent
//! has a memory limit. It must stay alive, with exact counts and constant memory, also if it is started again meanwhile, and it
//! must still explain what befalls others.

mod holder;
mod sockets;

use std::net::Ipv4Addr;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use dev_support::cgroups;

pub(crate) use self::holder::hold_if_requested;
use self::sockets::Attackers;
use crate::idle::{Explained, Idle, Schedule};
use crate::load::{self, Load};
use crate::measure::cost::settled;
use crate::measure::size::mib;
use crate::network;
use crate::subject::conservation::ConservationCheck;
use crate::subject::memory_cgroup::MemoryCgroup;
use crate::subject::process;
use crate::subject::tool::{ALL_DETAILS, Running, config_file};
use crate::subject::verdicts::Verdicts;
use crate::subject::web::{self, Counts};

/// The agent's memory limit, as in the manifests.
const LIMIT: u64 = 256 << 20;
/// Resets by each holder while all connections are open.
const RESETS: u64 = 200;
/// SYNs that are refused meanwhile.
const REFUSED: u64 = 5_000;
/// Duration of each kind of resets before the first measurement.
const WARMS_UP: Duration = Duration::from_secs(3);
/// How long the agent may still do work in the background after a change.
const SETTLES: Duration = Duration::from_secs(3);
/// How long a restarted agent is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// The connections of another user, 200 of them.
const OTHERS: Schedule = Schedule { rate: 100, opening: Duration::from_secs(2), end: Duration::from_secs(6) };
const PORT_WITHOUT_LISTENER: u16 = 1;

/// What the attack did.
#[derive(Clone, Debug)]
pub(crate) struct AttackResult {
    /// Sockets that were open at once.
    pub(crate) sockets: u64,
    /// Memory of the agent before, with all sockets, and after resets and churn.
    pub(crate) memory: [Memory; 3],
    /// Memory of an agent that was started while they were open.
    pub(crate) restarted: Memory,
    /// Seconds from its start to readiness.
    pub(crate) ready: f64,
    /// Sockets without a state, by the agent's count.
    pub(crate) untracked: u64,
    /// Resets that were made meanwhile, each sent and received.
    pub(crate) resets: u64,
    /// Connections that the attackers replaced each second while another user's were closed and used.
    pub(crate) churned: f64,
    /// Verdicts about those.
    pub(crate) others: Explained,
    /// A sentence for each fault.
    pub(crate) faults: Vec<String>,
}

/// Memory at one moment, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident memory of the agent.
    pub(crate) rss: u64,
    /// Memory of its cgroup, with what the kernel holds for it.
    pub(crate) cgroup: u64,
}

/// Attacks with up to this many sockets. Call it in an isolated network namespace.
pub(crate) fn run(most: u64) -> Result<AttackResult> {
    let cgroup = MemoryCgroup::with_limit(LIMIT)?;
    // Otherwise everything would belong to the unit or container that runs the bench.
    cgroups::leave_all();
    let config = config_file(ALL_DETAILS)?;
    let agent = Running::start_in(&cgroup, config.path())?;
    // Fills the agent's own tables, which are bounded.
    load::run(Load::Refused, WARMS_UP)?;
    load::run(Load::Aborted, WARMS_UP)?;
    settled(Counts::now()?)?;
    let before = memory(&agent, &cgroup)?;
    let check = ConservationCheck::begin()?;
    let mut attackers = Attackers::open(most)?;
    let sockets = attackers.sockets();
    let attacked = || format!("the agent, with {sockets} sockets open");
    let open = memory(&agent, &cgroup).with_context(attacked)?;
    let resets = attackers.reset(RESETS)? + refuse()?;
    let mut faults = check.end(resets, 0).with_context(attacked)?;
    let (others, churned) = others(&mut attackers).with_context(attacked)?;
    let after = memory(&agent, &cgroup).with_context(attacked)?;
    let untracked = web::value("rstwatch_sockets_untracked_total").with_context(attacked)?;
    drop(agent);

    let began = Instant::now();
    let agent = Running::start_in(&cgroup, config.path())
        .with_context(|| format!("the restarted agent, with {sockets} sockets open"))?;
    let ready = began.elapsed().as_secs_f64();
    let check = ConservationCheck::begin()?;
    sleep(WATCHED);
    let again = attackers.reset(RESETS)? + refuse()?;
    faults.extend(check.end(again, 0)?);
    let restarted = memory(&agent, &cgroup).context("the restarted agent")?;
    let kills = cgroup.kills()?;
    if kills > 0 {
        faults.push(format!("the kernel killed {kills} processes in the agent's cgroup because of its memory limit"));
    }
    let memory = [before, open, after];
    let resets = resets + again;
    Ok(AttackResult { sockets, memory, restarted, ready, untracked, resets, churned, others, faults })
}

fn memory(agent: &Running, cgroup: &MemoryCgroup) -> Result<Memory> {
    sleep(SETTLES);
    // Fails if the agent has ended, or no longer responds.
    web::get("/readyz")?;
    Ok(Memory { rss: process::rss_kib(agent.pid())?, cgroup: cgroup.usage_kib()? })
}

fn refuse() -> Result<u64> {
    (0..REFUSED).try_for_each(|_| load::refused((Ipv4Addr::LOCALHOST, PORT_WITHOUT_LISTENER).into()))?;
    Ok(REFUSED)
}

/// Another user's idle connections, in a namespace of their own, while the attackers close and open as fast as they can. Also returns
/// how many it replaced each second.
fn others(attackers: &mut Attackers) -> Result<(Explained, f64)> {
    let verdicts = Verdicts::follow()?;
    attackers.begin_churn(OTHERS.end)?;
    let began = Instant::now();
    let idle = thread::scope(|scope| {
        let others = scope.spawn(|| network::enter().and_then(|()| Idle::run(OTHERS)));
        others.join().unwrap_or_else(|_| Err(anyhow!("the other user panicked")))
    })?;
    let churned = attackers.end_churn()?;
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    let rate = churned as f64 / began.elapsed().as_secs_f64();
    Ok((idle.explained(verdicts)?, rate))
}

impl AttackResult {
    /// By how many MiB the agent's memory grew: resident, or its cgroup's, whichever is more.
    pub(crate) fn growth(&self) -> f64 {
        let [before, later @ ..] = self.memory;
        let most = |of: fn(&Memory) -> u64| later.iter().map(of).max().unwrap_or(0).saturating_sub(of(&before));
        mib(most(|memory| memory.rss).max(most(|memory| memory.cgroup)))
    }
}
