//! The report as text. Sections follow the order of the questions in an investigation; the advice comes last, next to the
//! prompt.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::bursts::{Burst, Restart};
use super::diagnosis::{Advice, Diagnosis};
use line::Line;
use rstwatch_verdict::escape::printable;
use rstwatch_verdict::text::{count, length, wrap};

mod causes;
mod evidence;
mod line;
mod losses;

/// Columns of the text.
const WIDTH: usize = 96;

/// Formats the whole report.
pub(crate) fn report(diagnosis: &Diagnosis, colour: bool) -> String {
    Page { colour, zone: TimeZone::try_system().unwrap_or(TimeZone::UTC), out: String::new() }.write(diagnosis)
}

/// The text while it is being written.
pub(super) struct Page {
    /// Whether headings are bold.
    pub(super) colour: bool,
    /// Time zone of the times in it.
    pub(super) zone: TimeZone,
    /// The text so far.
    pub(super) out: String,
}

impl Page {
    /// Writes the whole report.
    pub(super) fn write(mut self, diagnosis: &Diagnosis) -> String {
        self.out += &wrap(&printable(&headline(diagnosis)), "", WIDTH);
        self.section("causes", &causes::lines(diagnosis));
        let mut when = evidence::timing(&diagnosis.timing);
        when.extend(self.coincidences(diagnosis));
        self.section("when", &when);
        self.section("path", &evidence::path(&diagnosis.ttl));
        self.section("idle timeouts", &evidence::timeouts(&diagnosis.timeouts, &diagnosis.own_timeouts));
        let pressure = evidence::pressure(&diagnosis.pressure);
        self.section("pressure, in the network namespace of this command", &pressure);
        self.section("not seen", &losses::lines(diagnosis));
        self.section("change first", &change_first(&diagnosis.change_first));
        self.out
    }

    /// Writes a heading and its lines; nothing if there are no lines.
    fn section(&mut self, heading: &str, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        let heading = if self.colour { format!("\x1b[1m{heading}\x1b[0m") } else { heading.to_owned() };
        self.out += &format!("\n{heading}\n");
        self.out.extend(lines.iter().map(Line::text));
    }

    fn coincidences(&self, diagnosis: &Diagnosis) -> Vec<Line> {
        let bursts = diagnosis.bursts.iter().map(|burst| self.burst(burst));
        let restarts = diagnosis.restarts.iter().map(|restart| self.restart(restart));
        bursts.chain(restarts).map(|text| Line::unmarked(&text)).collect()
    }

    fn time(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }

    fn burst(&self, Burst { time, resets, peer, causes, died }: &Burst) -> String {
        let mut text = format!("burst at {}: {resets} resets within two seconds", self.time(*time));
        if let Some((peer, most)) = peer {
            let part = if most == resets { "all".to_owned() } else { format!("{most}") };
            text += &format!(", {part} of them with {peer}");
        }
        let causes: Vec<_> = causes.iter().take(3).map(|(cause, n)| format!("{cause} {n}")).collect();
        text += &format!("; {}", causes.join(", "));
        if let Some(process) = died {
            text += &format!("; the local process {process} died at that time");
        }
        text
    }

    fn restart(&self, Restart { peer, time, resets, refusals }: &Restart) -> String {
        format!(
            "{peer}: its process probably died or restarted at {}: {resets} connections were reset within two seconds, \
             then {} refused",
            self.time(*time),
            count(*refusals, "attempt was", "attempts were")
        )
    }
}

fn headline(diagnosis: &Diagnosis) -> String {
    let Diagnosis { node, scope, resets, sent, received, seen_at_both_ends, .. } = diagnosis;
    let watched = length(Duration::from_secs_f64(diagnosis.watched_seconds));
    let filtered = if diagnosis.filtered { ", filtered" } else { "" };
    let watch = format!("{node}, {scope}{filtered}, watched for {watched}");
    if diagnosis.counted() == 0 {
        return format!("{watch}: no resets");
    }
    let both_ends = match seen_at_both_ends {
        0 => String::new(),
        n => format!("; {n} seen at both ends, counted once"),
    };
    format!("{watch}: {} ({sent} sent, {received} received{both_ends})", count(*resets, "reset", "resets"))
}

fn change_first(advice: &[Advice]) -> Vec<Line> {
    let line = |(index, Advice { what, direction, resets, advice }): (usize, &Advice)| {
        let direction = direction.map_or(String::new(), |direction| format!(" {direction}"));
        let text = format!("{what} ({}{direction}): {advice}", count(*resets, "reset", "resets"));
        Line::new(format!("{}.", index + 1), &text)
    };
    advice.iter().enumerate().map(line).collect()
}
