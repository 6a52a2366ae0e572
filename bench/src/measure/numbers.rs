//! Means and medians.

use std::time::Duration;

/// Nanoseconds per operation.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(crate) fn nanos_per(time: Duration, count: u64) -> f64 {
    if count == 0 { 0.0 } else { time.as_nanos() as f64 / count as f64 }
}

/// The median; of an even count, the mean of the middle two.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), middle.checked_sub(1).and_then(|lower| sorted.get(lower))) {
        (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => f64::midpoint(*upper, *lower),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (numbers, middle) in
            [(&[3.0, 1.0, 2.0][..], 2.0), (&[4.0, 1.0, 2.0, 3.0], 2.5), (&[7.0], 7.0), (&[1.0, 2.0], 1.5)]
        {
            assert!((median(numbers) - middle).abs() < 1e-9, "{numbers:?}");
        }
        assert!(median(&[]).is_nan());
    }
}
