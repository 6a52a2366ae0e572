//! `/api/v1/events`: recent events as a JSON array, or new events as JSON lines.

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

/// Interval between heartbeats of a stream without events.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The parameters of a query.
#[derive(Debug, Default, PartialEq)]
struct EventQuery {
    filter: Filter,
    follow: bool,
    /// Whether events have the fields `remaining`, the candidates as a sentence, and `advice`, what to change; either may be
    /// null.
    advice: bool,
    /// Whether to send an empty line if no event comes for a while, so that the reader knows the stream is alive.
    heartbeat: bool,
    /// Maximum events: the newest of the recent ones, or the number after which a stream ends.
    limit: Option<usize>,
}

pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    match query.map_err(|error| error.body_text()).and_then(|Query(pairs)| parse(&pairs)) {
        Err(error) => error_response(StatusCode::BAD_REQUEST, &error),
        Ok(query) if query.follow => follow(&shared, query),
        Ok(query) => recent(&shared, &query),
    }
}

fn parse(pairs: &[(String, String)]) -> Result<EventQuery, String> {
    let mut query = EventQuery::default();
    for (key, value) in pairs {
        match key.as_str() {
            "cause" => {
                for cause in value.split(',') {
                    query.filter.causes.push(cause.parse().map_err(|error| format!("cause {error}"))?);
                }
            }
            "direction" => query.filter.direction = Some(value.parse().map_err(|error| format!("direction {error}"))?),
            "follow" => query.follow = boolean(key, value)?,
            "advice" => query.advice = boolean(key, value)?,
            "heartbeat" => query.heartbeat = boolean(key, value)?,
            "limit" => query.limit = Some(limit(value)?),
            _ => {
                return Err(format!(
                    "{key:?} is not a parameter: use cause, direction, follow, limit, advice or heartbeat"
                ));
            }
        }
    }
    Ok(query)
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("{key} {value:?} is not 1 or 0")),
    }
}

fn limit(value: &str) -> Result<usize, String> {
    let limit = value.parse().ok().filter(|limit| (1..=CAPACITY).contains(limit));
    limit.ok_or_else(|| format!("limit {value:?} is not a number from 1 to {CAPACITY}"))
}

fn error_response(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

fn recent(shared: &Shared, EventQuery { filter, limit, advice, .. }: &EventQuery) -> Response {
    let mut events = shared.state.history.recent();
    events.retain(|judged| filter.admits(&judged.event));
    events.drain(..events.len().saturating_sub(limit.unwrap_or(CAPACITY)));
    let items = events.iter().map(|judged| Item { judged, advice: *advice });
    Json(items.collect::<Vec<_>>()).into_response()
}

/// An event in a response, with its advice if the query requests it.
struct Item<'a> {
    judged: &'a Judged,
    advice: bool,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { judged: Judged { event, timing, .. }, advice } = *self;
        if !advice {
            return event.serialize(serializer);
        }
        // `decide` is a field of the event.
        let [remaining, _, advice] = explain::guidance(event, timing.timer);
        WithAdvice { event, remaining, advice }.serialize(serializer)
    }
}

#[derive(Serialize)]
struct WithAdvice<'a> {
    #[serde(flatten)]
    event: &'a Event,
    /// The causes that remain, as a sentence.
    remaining: Option<String>,
    advice: Option<String>,
}

fn follow(shared: &Shared, query: EventQuery) -> Response {
    let Ok(permit) = Arc::clone(&shared.followers).try_acquire_owned() else {
        return error_response(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{MAX_FOLLOWERS} requests already follow events: end one, or query without follow"),
        );
    };
    let stream = Stream { follower: shared.state.history.follow(), query, sent: 0, _permit: permit };
    let lines = stream::unfold(stream, |mut stream| async {
        let line = stream.line().await?;
        Some((Ok::<_, Infallible>(line), stream))
    });
    // A proxy that buffers the stream would delay verdicts.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), unbuffered];
    (headers, Extension(Streaming), Body::from_stream(lines)).into_response()
}

struct Stream {
    follower: Follower,
    query: EventQuery,
    sent: usize,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    /// The next selected event or heartbeat; `None` at the end.
    async fn line(&mut self) -> Option<String> {
        if self.query.limit.is_some_and(|limit| self.sent >= limit) {
            return None;
        }
        loop {
            let next = self.follower.next();
            let judged = if self.query.heartbeat {
                match tokio::time::timeout(HEARTBEAT, next).await {
                    Ok(judged) => judged?,
                    Err(_) => return Some("\n".to_owned()),
                }
            } else {
                next.await?
            };
            if self.query.filter.admits(&judged.event) {
                self.sent += 1;
                let item = Item { judged: &judged, advice: self.query.advice };
                return serde_json::to_string(&item).ok().map(|line| line + "\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstwatch_verdict::cause::{Cause, Direction};

    fn query(pairs: &[(&str, &str)]) -> Result<EventQuery, String> {
        parse(&pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect::<Vec<_>>())
    }

    #[test]
    fn parameters_become_a_query() {
        let pairs = [
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
        assert_eq!(
            query(&pairs),
            Ok(EventQuery { filter, follow: true, advice: true, heartbeat: true, limit: Some(5) })
        );
        assert_eq!(query(&[]), Ok(EventQuery::default()));
    }

    #[test]
    fn errors_name_the_parameter() {
        let cases = [
            (("cause", "tired"), "cause \"tired\" is none of: refused, idle_reaped"),
            (("direction", "up"), "direction \"up\" is none of: sent, received"),
            (("follow", "maybe"), "follow \"maybe\" is not 1 or 0"),
            (("advice", "2"), "advice \"2\" is not 1 or 0"),
            (("limit", "0"), "limit \"0\" is not a number from 1 to 1000"),
            (("peer", "x"), "\"peer\" is not a parameter: use cause, direction, follow, limit, advice or heartbeat"),
        ];
        for (pair, error) in cases {
            let message = query(&[pair]).expect_err("refused");
            assert!(message.starts_with(error), "{message}");
        }
    }
}
