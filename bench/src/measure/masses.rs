//! What connections in masses do: as many as the machine takes at once, and as many as it can close in a time.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::figures::{Figure, Limit};
use super::size::{mib, of_count};
use crate::attack::AttackResult;
use crate::idle::{Explained, Idle, Schedule};
use crate::load::{self, Load};
use crate::subject::tool::{Running, Tool};
use crate::subject::verdicts::Verdicts;

/// Figures of the attack on memory.
pub(crate) fn of_attack(result: &AttackResult) -> Vec<Figure> {
    let AttackResult { sockets, memory, restarted, others, .. } = result;
    let mut figures = vec![
        Figure::new(format!("attack with {sockets} sockets: growth of the agent's memory"), "MiB", result.growth())
            .limited(Limit::AtMost(4.0)),
        Figure::new("attack: idle connections of another user that are explained", "%", explained(others))
            .limited(Limit::AtLeast(50.0)),
    ];
    for (when, memory) in ["before", "with all sockets", "after resets"].iter().zip(memory) {
        figures.push(Figure::new(format!("attack: memory of the agent's cgroup {when}"), "MiB", mib(memory.cgroup)));
        figures.push(Figure::new(format!("attack: resident memory of the agent {when}"), "MiB", mib(memory.rss)));
    }
    figures.extend([
        Figure::new("attack: memory of the cgroup after a restart", "MiB", mib(restarted.cgroup)),
        Figure::new("attack: start to ready beside these sockets", "ms", result.ready * 1e3)
            .limited(Limit::AtMost(300.0)),
        Figure::new("attack: sockets that found no room", "", of_count(result.untracked)),
        Figure::new("attack: resets that were made and counted", "", of_count(result.resets)),
        Figure::new("attack: connections replaced a second meanwhile", "", result.churned),
    ]);
    figures
}

/// Idle connections that are closed and used again while short connections end as fast as they can.
pub(crate) fn closes(time: Duration) -> Result<Vec<Figure>> {
    let _running = Running::start(Tool::Rstwatch, None)?;
    let verdicts = Verdicts::follow()?;
    // The last silence must be over before the end.
    let schedule = Schedule { rate: 5, opening: time.saturating_sub(Duration::from_secs(2)), end: time };
    let (idle, done) = thread::scope(|scope| {
        let idle = scope.spawn(move || Idle::run(schedule));
        let done = load::run(Load::Short, time);
        let idle = idle.join().unwrap_or_else(|_| Err(anyhow!("the idle connections panicked")));
        Ok::<_, anyhow::Error>((idle?, done?))
    })?;
    let named = idle.explained(verdicts)?;
    let what = format!(
        "{} idle connections, used up to {} s after their end: explained",
        named.reused,
        schedule.end.as_secs()
    );
    Ok(vec![
        Figure::new(what, "%", explained(&named)).limited(Limit::AtLeast(100.0)),
        Figure::new("short connections closed a second meanwhile", "", done.rate),
    ])
}

/// Per cent of the reused connections.
fn explained(explained: &Explained) -> f64 {
    let Explained { reused, named, .. } = explained;
    explained.print();
    super::cost::share(*named, *reused)
}
