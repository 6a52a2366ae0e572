//! Ratios of counts, and promises about them.

/// A sum, and how many judgements it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ratio {
    sum: usize,
    of: usize,
}

impl FromIterator<usize> for Ratio {
    fn from_iter<T: IntoIterator<Item = usize>>(counts: T) -> Self {
        counts.into_iter().fold(Self::default(), |Self { sum, of }, count| Self { sum: sum + count, of: of + 1 })
    }
}

/// A bound of a ratio, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    AtMost(usize),
    AtLeast(usize),
}

impl Promise {
    /// Whether the ratio keeps it; `None` if there is nothing to judge by.
    pub(crate) fn is_kept(self, ratio: Ratio) -> Option<bool> {
        let (sum, of) = (ratio.sum * 1000, ratio.of);
        (of > 0).then(|| match self {
            Self::AtMost(bound) => sum <= of * bound,
            Self::AtLeast(bound) => sum >= of * bound,
        })
    }
}

/// The value of a ratio over nothing.
pub(crate) const NO_VALUE: &str = "–";

/// How a ratio is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    Percent,
    Mean,
}

impl Unit {
    /// The value, rounded so that it never looks better than it is.
    pub(crate) fn show(self, Ratio { sum, of }: Ratio, promise: Option<Promise>) -> String {
        let scaled = |factor: usize| match promise {
            Some(Promise::AtMost(_)) => (sum * factor).div_ceil(of),
            _ => sum * factor / of,
        };
        match self {
            _ if of == 0 => NO_VALUE.to_owned(),
            Self::Count => format!("{sum} of {of}"),
            Self::Percent => format!("{} % ({sum} of {of})", tenths(scaled(1000))),
            Self::Mean => tenths(scaled(10)),
        }
    }

    /// The promise, in the same unit.
    pub(crate) fn show_promise(self, promise: Promise) -> String {
        let (sign, bound) = match promise {
            Promise::AtMost(bound) => ("≤ ", bound),
            Promise::AtLeast(bound) => ("≥ ", bound),
        };
        match (self, bound) {
            (_, 0) => "0".to_owned(),
            (Self::Percent, 1000) => "100 %".to_owned(),
            (Self::Percent, _) => format!("{sign}{} %", tenths(bound).trim_end_matches(".0")),
            (Self::Mean, _) => format!("{sign}{}", tenths(bound / 100)),
            (Self::Count, _) => format!("{sign}{}", bound / 1000),
        }
    }
}

fn tenths(value: usize) -> String {
    format!("{}.{}", value / 10, value % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_against_the_promise() {
        let cases = [
            (Unit::Percent, 1, 3, None, "33.3 % (1 of 3)"),
            (Unit::Percent, 1999, 2000, Some(Promise::AtLeast(1000)), "99.9 % (1999 of 2000)"),
            (Unit::Percent, 1, 3000, Some(Promise::AtMost(5)), "0.1 % (1 of 3000)"),
            (Unit::Mean, 351, 100, Some(Promise::AtMost(3500)), "3.6"),
            (Unit::Count, 0, 7, Some(Promise::AtMost(0)), "0 of 7"),
            (Unit::Count, 0, 0, Some(Promise::AtMost(0)), "–"),
        ];
        for (unit, sum, of, promise, text) in cases {
            assert_eq!(unit.show(Ratio { sum, of }, promise), text);
        }
    }

    #[test]
    fn compares_exactly_and_states_the_bound() {
        let cases = [
            (Unit::Percent, Promise::AtMost(5), (1, 200), Some(true), "≤ 0.5 %"),
            (Unit::Percent, Promise::AtMost(5), (1, 199), Some(false), "≤ 0.5 %"),
            (Unit::Percent, Promise::AtLeast(990), (99, 100), Some(true), "≥ 99 %"),
            (Unit::Percent, Promise::AtLeast(1000), (99, 100), Some(false), "100 %"),
            (Unit::Mean, Promise::AtMost(3500), (7, 2), Some(true), "≤ 3.5"),
            (Unit::Mean, Promise::AtMost(3500), (351, 100), Some(false), "≤ 3.5"),
            (Unit::Count, Promise::AtMost(0), (0, 9), Some(true), "0"),
            (Unit::Count, Promise::AtMost(0), (0, 0), None, "0"),
        ];
        for (unit, promise, (sum, of), kept, text) in cases {
            assert_eq!(promise.is_kept(Ratio { sum, of }), kept, "{promise:?} {sum} of {of}");
            assert_eq!(unit.show_promise(promise), text);
        }
    }
}
