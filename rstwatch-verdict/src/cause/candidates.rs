//! The causes that remain of one reset.

use std::ops::Deref;

use serde::{Serialize, Serializer};

use super::Cause;

/// Causes that the evidence does not exclude, the most plausible first. Beyond [`MAX`](Self::MAX) the least plausible are
/// dropped. Kept in place, because a verdict is copied several times on its way into an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Candidates {
    len: u8,
    /// Beyond `len`: [`Cause::Unknown`].
    causes: [Cause; Self::MAX],
}

impl Candidates {
    /// Maximum candidates of one event.
    pub const MAX: usize = 5;
    /// Nothing is known.
    pub const NONE: Self = Self { len: 0, causes: [Cause::Unknown; Self::MAX] };
}

impl Deref for Candidates {
    type Target = [Cause];

    fn deref(&self) -> &[Cause] {
        self.causes.get(..self.len.into()).unwrap_or_default()
    }
}

impl FromIterator<Cause> for Candidates {
    fn from_iter<I: IntoIterator<Item = Cause>>(causes: I) -> Self {
        let mut all = Self::NONE;
        for (place, cause) in all.causes.iter_mut().zip(causes) {
            *place = cause;
            all.len += 1;
        }
        all
    }
}

impl<const N: usize> From<[Cause; N]> for Candidates {
    fn from(causes: [Cause; N]) -> Self {
        causes.into_iter().collect()
    }
}

impl std::fmt::Debug for Candidates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Candidates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_the_most_plausible_five_in_order() {
        let all = Candidates::from_iter(Cause::ALL.iter().copied());
        assert_eq!(all[..], Cause::ALL[..Candidates::MAX]);
        assert_eq!(Candidates::from([]), Candidates::NONE);
        let two = Candidates::from([Cause::UnreadData, Cause::LingerAbort]);
        assert_eq!(two[..], [Cause::UnreadData, Cause::LingerAbort]);
        assert_ne!(two, Candidates::from([Cause::UnreadData]));
        assert_eq!(format!("{two:?}"), "[UnreadData, LingerAbort]");
    }
}
