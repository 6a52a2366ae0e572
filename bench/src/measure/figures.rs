//! Figures with their limits.

use serde::Serialize;

/// The bound that a figure must keep.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// One number in docs/performance.md.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What it measures.
    pub(crate) what: String,
    /// Its unit; empty for ratios.
    pub(crate) unit: &'static str,
    /// The promised bound; `None` for a figure shown for comparison.
    pub(crate) limit: Option<Limit>,
    /// The value, or why there is none.
    pub(crate) seen: Result<f64, String>,
    /// Minimum and maximum of the measurements.
    pub(crate) spread: Option<(f64, f64)>,
    /// Number of measurements.
    pub(crate) measurements: usize,
}

impl Figure {
    /// A figure for comparison.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, seen: f64) -> Self {
        Self { what: what.into(), unit, limit: None, seen: Ok(seen), spread: None, measurements: 1 }
    }

    /// A figure that could not be measured, and why.
    pub(crate) fn skipped(what: impl Into<String>, why: String) -> Self {
        Self { what: what.into(), unit: "", limit: None, seen: Err(why), spread: None, measurements: 0 }
    }

    /// The median of several measurements.
    pub(crate) fn median(what: impl Into<String>, unit: &'static str, of: &[f64]) -> Self {
        let least = of.iter().copied().fold(f64::INFINITY, f64::min);
        let most = of.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let spread = Some((least, most));
        Self { spread, measurements: of.len(), ..Self::new(what, unit, super::numbers::median(of)) }
    }

    /// Adds a limit.
    pub(crate) fn limited(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Whether the limit is met; `None` without a limit. A figure that could not be measured misses its limit.
    pub(crate) fn met(&self) -> Option<bool> {
        let limit = self.limit?;
        Some(self.seen.as_ref().is_ok_and(|seen| limit.holds(*seen)))
    }

    /// A line for the terminal.
    pub(crate) fn line(&self) -> String {
        format!("{:9} {:64} {:>12}  {}", self.verdict(), self.what, self.shown(), self.bound())
    }

    /// `met`, `MISSED`, or nothing.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None if self.seen.is_err() => "skipped",
            None => "",
        }
    }

    /// The number with its unit.
    pub(crate) fn shown(&self) -> String {
        match &self.seen {
            Ok(seen) => format!("{} {}", number(*seen), self.unit).trim_end().to_owned(),
            Err(why) => why.clone(),
        }
    }

    /// The limit.
    pub(crate) fn bound(&self) -> String {
        match self.limit {
            Some(Limit::AtLeast(bound)) => format!("≥ {} {}", number(bound), self.unit).trim_end().to_owned(),
            Some(Limit::AtMost(bound)) => format!("≤ {} {}", number(bound), self.unit).trim_end().to_owned(),
            None => String::new(),
        }
    }

    /// Minimum and maximum.
    pub(crate) fn range(&self) -> String {
        self.spread.map_or_else(String::new, |(least, most)| format!("{} to {}", number(least), number(most)))
    }
}

/// Rounds to about three digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_a_figure_with_its_limit() {
        let figure = |seen| Figure::new("a ratio", "", seen).limited(Limit::AtLeast(0.98));
        assert_eq!((figure(0.98).met(), figure(0.979).met()), (Some(true), Some(false)));
        let figure = Figure::median("a time", "ms", &[3.0, 1.0, 2.0]).limited(Limit::AtMost(2.0));
        assert_eq!((figure.met(), figure.shown().as_str(), figure.range().as_str()), (Some(true), "2 ms", "1 to 3"));
        assert_eq!(figure.bound(), "≤ 2 ms");
        let absent = Figure::skipped("another", "not here".to_owned());
        assert_eq!((absent.met(), absent.limited(Limit::AtMost(1.0)).met()), (None, Some(false)));
    }

    #[test]
    fn numbers_have_about_three_digits() {
        for (value, text) in [(0.98, "0.98"), (12.345, "12.3"), (20_480.4, "20480"), (0.0, "0"), (1.0, "1")] {
            assert_eq!(number(value), text);
        }
    }
}
