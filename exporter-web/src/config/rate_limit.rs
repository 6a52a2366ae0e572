//! `rate_limit`: a token bucket for all clients together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde_saphyr::Spanned;

use super::error::Invalid;
use super::schema::{RateLimitSection, set};

/// How fast the bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// Time in which one token is added.
    interval: Duration,
    /// Largest number of tokens.
    burst: u32,
}

impl RateLimit {
    /// Checks the section. None: no limit.
    pub(super) fn from_section(section: &RateLimitSection) -> Result<Option<Self>, Invalid> {
        let Some(interval) = set(&section.interval) else { return Ok(None) };
        let parsed = if interval.value == "0" { Some(Duration::ZERO) } else { duration(&interval.value) };
        let Some(duration) = parsed else {
            let message = format!("invalid interval {:?}: use a duration such as 1s or 100ms", interval.value);
            return Err(Invalid::at(interval, message));
        };
        if duration.is_zero() {
            return Ok(None);
        }
        match section.burst.as_ref().map(|burst| u32::try_from(burst.value)) {
            Some(Ok(burst)) if burst > 0 => Ok(Some(Self { interval: duration, burst })),
            _ => {
                let missing = Spanned::new(0, interval.referenced, interval.defined);
                let message = "burst below 1 rejects every request: set it to 1 or more";
                Err(Invalid::at(section.burst.as_ref().unwrap_or(&missing), message))
            }
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok())
}

/// The bucket. It outlives a reload, so that a reload does not fill it.
#[derive(Debug)]
pub(super) struct TokenBucket(Mutex<Tokens>);

#[derive(Debug)]
struct Tokens {
    count: f64,
    updated: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn full(limit: Option<RateLimit>) -> Self {
        let count = limit.map_or(0.0, |limit| f64::from(limit.burst));
        Self(Mutex::new(Tokens { count, updated: Instant::now() }))
    }

    /// Takes a token for one request; false: there is none.
    pub(super) fn take(&self, limit: RateLimit) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let added = now.duration_since(tokens.updated).as_secs_f64() / limit.interval.as_secs_f64();
        tokens.count = (tokens.count + added).min(f64::from(limit.burst));
        tokens.updated = now;
        if tokens.count < 1.0 {
            return false;
        }
        tokens.count -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_one_an_interval() {
        let limit = RateLimit { interval: Duration::from_millis(50), burst: 2 };
        let bucket = TokenBucket::full(Some(limit));
        assert!(bucket.take(limit) && bucket.take(limit) && !bucket.take(limit));
        std::thread::sleep(limit.interval);
        assert!(bucket.take(limit));
    }
}
