//! The fields of `rstwatch trace --json` that the lab judges.

use serde::Deserialize;

/// One event, with its line for messages.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) direction: String,
    pub(crate) cause: String,
    pub(crate) sender: String,
    pub(crate) confidence: String,
    pub(crate) idle_ms: Option<u64>,
    local: Option<String>,
    remote: Option<String>,
    pub(crate) netns: Option<u64>,
    #[serde(skip)]
    pub(crate) line: String,
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
    }
}
