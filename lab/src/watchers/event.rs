//! The fields of `rstwatch trace --json` that the lab judges.

use serde::{Deserialize, Serialize};

/// One event, with its line for messages.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) direction: String,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    pub(crate) idle_ms: Option<u64>,
    local: Option<String>,
    remote: Option<String>,
    pub(crate) netns: Option<u64>,
    #[serde(skip)]
    pub(crate) line: String,
}

/// What rstwatch says of one reset. The first edition had neither candidates nor a confidence of the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) cause: String,
    pub(crate) sender: String,
    pub(crate) confidence: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sender_confidence: Option<String>,
    /// Every cause that remains, most plausible first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) candidates: Vec<String>,
    /// The one observation that would narrow them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) decide: Option<String>,
}

impl Verdict {
    /// Whether the cause may be that one, as the cause itself or as a candidate.
    pub(crate) fn admits(&self, cause: &str) -> bool {
        self.cause == cause || self.candidates.iter().any(|candidate| candidate == cause)
    }

    /// How sure it is of the sender; in the first edition cause and sender shared one confidence.
    pub(crate) fn sender_confidence(&self) -> &str {
        self.sender_confidence.as_deref().unwrap_or(&self.confidence)
    }
}

/// Whether this confidence claims more than a guess.
pub(crate) fn is_claim(confidence: &str) -> bool {
    ["certain", "likely"].contains(&confidence)
}

impl Event {
    pub(crate) fn parse(line: &str) -> Result<Self, serde_json::Error> {
        let mut event: Self = serde_json::from_str(line)?;
        line.clone_into(&mut event.line);
        Ok(event)
    }

    /// Whether either end has this port. Each scenario has its own server port.
    pub(crate) fn is_on(&self, port: u16) -> bool {
        let ends = [&self.local, &self.remote];
        ends.into_iter().flatten().any(|end| port_of(end) == Some(port))
    }
}

fn port_of(end: &str) -> Option<u16> {
    end.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_port_in_both_families() {
        let line = r#"{"direction":"sent","cause":"refused","sender":"local_kernel","confidence":"certain",
            "local":"[fd77:2::2]:10001","remote":null,"netns":4026532000,"more":1}"#;
        let event = Event::parse(line).expect("an event");
        assert!(event.is_on(10001));
        assert!(!event.is_on(2));
        assert_eq!(event.netns, Some(4_026_532_000));
        assert!(event.verdict.candidates.is_empty());
        assert_eq!(event.verdict.sender_confidence(), "certain");
    }

    #[test]
    fn reads_candidates_and_the_senders_confidence() {
        let line = r#"{"direction":"received","cause":"peer_abort","sender":"peer","confidence":"likely","netns":null,
            "sender_confidence":"guess","candidates":["unread_data","linger_abort"],"decide":"rstwatch on 10.0.7.12"}"#;
        let verdict = Event::parse(line).expect("an event").verdict;
        assert!(verdict.admits("linger_abort") && verdict.admits("peer_abort") && !verdict.admits("refused"));
        assert_eq!(verdict.sender_confidence(), "guess");
        assert_eq!(verdict.decide.as_deref(), Some("rstwatch on 10.0.7.12"));
    }
}
