//! Assigns events to expectations. Pure, like the grades.

use crate::judging::grade::Fit;
use crate::rows::table::{Times, Want};

/// Assigns each event to the expectation of the same host and direction that it fits best, or to `None` if it is unexpected.
/// `fit` is `None` for an expectation at another host or in another direction.
pub(crate) fn assign(wants: &[&Want], events: usize, fit: impl Fn(&Want, usize) -> Option<Fit>) -> Vec<Option<usize>> {
    let mut taken = vec![false; wants.len()];
    let mut answers = vec![None; events];
    for least in [Fit::Exact, Fit::Possible, Fit::Other] {
        for (event, answer) in answers.iter_mut().enumerate().filter(|(_, answer)| answer.is_none()) {
            let mut open = wants.iter().zip(&mut taken).enumerate();
            let found = open.find(|(_, (want, taken))| {
                let free = !**taken || want.times != Times::Once;
                free && fit(want, event).is_some_and(|fit| fit >= least)
            });
            if let Some((index, (_, taken))) = found {
                *taken = true;
                *answer = Some(index);
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::table::{PEER, S, sent};

    #[test]
    fn assigns_events_to_the_best_expectation() {
        use Fit::{Exact, Other, Possible};
        let (a, b) = (sent(S, "a", PEER), sent(S, "b", PEER));
        // How each event fits "a" and "b".
        type Fits = [Option<Fit>; 2];
        let cases: [(&[Fits], &[Option<usize>]); 4] = [
            (&[[Some(Other), Some(Exact)], [Some(Exact), Some(Other)], [Some(Other); 2]], &[Some(1), Some(0), None]),
            (&[[Some(Other); 2], [Some(Possible), Some(Other)]], &[Some(1), Some(0)]),
            (&[[Some(Possible); 2], [Some(Exact), Some(Other)]], &[Some(1), Some(0)]),
            (&[[None, None], [None, Some(Other)]], &[None, Some(1)]),
        ];
        for (fits, expected) in cases {
            let fit = |want: &Want, event: usize| fits[event][usize::from(want.cause == "b")];
            assert_eq!(assign(&[&a, &b], fits.len(), fit), expected);
        }
        let some = a.some();
        assert_eq!(assign(&[&some], 2, |_, _| Some(Other)), [Some(0), Some(0)]);
    }
}
