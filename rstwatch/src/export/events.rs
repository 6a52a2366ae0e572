//! `/api/v1/events`: recent events as a JSON array, or new ones as JSON lines.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use exporter_web::Streaming;
use futures_util::stream;
use serde::{Serialize, Serializer};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{MAX_FOLLOWERS, Shared};
use crate::present::filter::Filter;
use crate::stats::history::{CAPACITY, Follower};
use rstwatch_verdict::event::Event;
use rstwatch_verdict::explain;
use rstwatch_verdict::judged::Judged;

/// Between two heartbeats of a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a query asks for.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    filter: Filter,
    follow: bool,
    /// With what to change, as field `advice`: text, or null where there is nothing to mend.
    advice: bool,
    /// An empty line where nothing came for a while, so that a reader knows that the stream lives.
    heartbeat: bool,
    /// Recent: the newest so many. Following: ends after so many.
    limit: Option<usize>,
}

pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    match query.map_err(|error| error.body_text()).and_then(|Query(pairs)| wanted(&pairs)) {
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error),
        Ok(wanted) if wanted.follow => follow(&shared, wanted),
        Ok(wanted) => recent(&shared, &wanted),
    }
}

fn wanted(pairs: &[(String, String)]) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    for (key, value) in pairs {
        match key.as_str() {
            "cause" => {
                for cause in value.split(',') {
                    wanted.filter.causes.push(cause.parse().map_err(|error| format!("cause {error}"))?);
                }
            }
            "direction" => wanted.filter.direction = Some(value.parse().map_err(|error| format!("direction {error}"))?),
            "follow" => wanted.follow = boolean(key, value)?,
            "advice" => wanted.advice = boolean(key, value)?,
            "heartbeat" => wanted.heartbeat = boolean(key, value)?,
            "limit" => wanted.limit = Some(limit(value)?),
            _ => return Err(format!("{key:?} is none of: cause, direction, follow, limit, advice, heartbeat")),
        }
    }
    Ok(wanted)
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("{key} {value:?} is neither 1 nor 0")),
    }
}

fn limit(value: &str) -> Result<usize, String> {
    let limit = value.parse().ok().filter(|limit| (1..=CAPACITY).contains(limit));
    limit.ok_or_else(|| format!("limit {value:?} is no number from 1 to {CAPACITY}"))
}

fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

fn recent(shared: &Shared, Wanted { filter, limit, advice, .. }: &Wanted) -> Response {
    let mut events = shared.state.history.recent();
    events.retain(|judged| filter.admits(&judged.event));
    events.drain(..events.len().saturating_sub(limit.unwrap_or(CAPACITY)));
    let shown = events.iter().map(|judged| Shown { judged, advice: *advice });
    Json(shown.collect::<Vec<_>>()).into_response()
}

/// An event, with the advice if that was asked for.
struct Shown<'a> {
    judged: &'a Judged,
    advice: bool,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { judged: Judged { event, timing, .. }, advice } = *self;
        if !advice {
            return event.serialize(serializer);
        }
        Advised { event, advice: explain::advice(event, timing.timer) }.serialize(serializer)
    }
}

#[derive(Serialize)]
struct Advised<'a> {
    #[serde(flatten)]
    event: &'a Event,
    advice: Option<String>,
}

fn follow(shared: &Shared, wanted: Wanted) -> Response {
    let Ok(permit) = Arc::clone(&shared.followers).try_acquire_owned() else {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{MAX_FOLLOWERS} requests follow already: end one, or read without follow"),
        );
    };
    let stream = Stream { follower: shared.state.history.follow(), wanted, sent: 0, _permit: permit };
    let lines = stream::unfold(stream, |mut stream| async {
        let line = stream.line().await?;
        Some((Ok::<_, Infallible>(line), stream))
    });
    // A proxy that gathers a buffer full of them first would delay verdicts.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), unbuffered];
    (headers, Extension(Streaming), Body::from_stream(lines)).into_response()
}

struct Stream {
    follower: Follower,
    wanted: Wanted,
    sent: usize,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    /// The next event that is wanted, or a heartbeat; none at the end.
    async fn line(&mut self) -> Option<String> {
        if self.wanted.limit.is_some_and(|limit| self.sent >= limit) {
            return None;
        }
        loop {
            let next = self.follower.next();
            let judged = if self.wanted.heartbeat {
                match tokio::time::timeout(HEARTBEAT, next).await {
                    Ok(judged) => judged?,
                    Err(_) => return Some("\n".to_owned()),
                }
            } else {
                next.await?
            };
            if self.wanted.filter.admits(&judged.event) {
                self.sent += 1;
                let shown = Shown { judged: &judged, advice: self.wanted.advice };
                return serde_json::to_string(&shown).ok().map(|line| line + "\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstwatch_verdict::cause::{Cause, Direction};

    fn parse(query: &[(&str, &str)]) -> Result<Wanted, String> {
        wanted(&query.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect::<Vec<_>>())
    }

    #[test]
    fn queries_are_understood() {
        let query = [
            ("cause", "refused,idle_reaped"),
            ("cause", "unknown"),
            ("direction", "sent"),
            ("follow", "1"),
            ("limit", "5"),
            ("advice", "1"),
            ("heartbeat", "1"),
        ];
        let filter = Filter {
            causes: vec![Cause::Refused, Cause::IdleReaped, Cause::Unknown],
            direction: Some(Direction::Sent),
            ..Filter::default()
        };
        assert_eq!(parse(&query), Ok(Wanted { filter, follow: true, advice: true, heartbeat: true, limit: Some(5) }));
        assert_eq!(parse(&[]), Ok(Wanted::default()));
    }

    #[test]
    fn bad_queries_are_named() {
        let cases = [
            (("cause", "tired"), "cause \"tired\" is none of: refused, idle_reaped"),
            (("direction", "up"), "direction \"up\" is none of: sent, received"),
            (("follow", "maybe"), "follow \"maybe\" is neither 1 nor 0"),
            (("advice", "2"), "advice \"2\" is neither 1 nor 0"),
            (("limit", "0"), "limit \"0\" is no number from 1 to 1000"),
            (("peer", "x"), "\"peer\" is none of: cause, direction, follow, limit, advice, heartbeat"),
        ];
        for (pair, error) in cases {
            let said = parse(&[pair]).expect_err("refused");
            assert!(said.starts_with(error), "{said}");
        }
    }
}
