//! What is attached on this host, what replaces a hook that is not, and which evidence is lost.

use std::borrow::Cow;

/// A hook on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its fixed name, the label of `probe_attached`.
    pub name: &'static str,
    /// Whether the agent is of no use without it.
    pub required: bool,
    /// What became of it.
    pub status: Status,
    /// What is lost without it, unless another probe replaces it.
    pub evidence: &'static str,
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is attached.
    Attached,
    /// It is attached in place of others.
    Fallback {
        /// Their names.
        replaces: Vec<&'static str>,
    },
    /// It is not attached; another probe gives its evidence.
    Replaced {
        /// Why it is not attached.
        why: String,
        /// The other probe.
        by: &'static str,
        /// What is lost all the same.
        lost: Option<&'static str>,
    },
    /// It is not attached.
    Missing {
        /// Why not.
        why: String,
    },
}

impl Probe {
    /// Whether it is attached.
    pub fn is_attached(&self) -> bool {
        matches!(self.status, Status::Attached | Status::Fallback { .. })
    }

    /// The state in one word, as the API shows it: `ok`, `fallback` or `missing`.
    pub fn state(&self) -> &'static str {
        match self.status {
            Status::Attached => "ok",
            Status::Fallback { .. } => "fallback",
            Status::Replaced { .. } | Status::Missing { .. } => "missing",
        }
    }

    /// The evidence that this host lacks because it is not attached.
    pub fn lost(&self) -> Option<&'static str> {
        match self.status {
            Status::Attached | Status::Fallback { .. } => None,
            Status::Replaced { lost, .. } => lost,
            Status::Missing { .. } => Some(self.evidence),
        }
    }

    /// Whether evidence is lost because it is not attached.
    pub fn is_missed(&self) -> bool {
        self.lost().is_some()
    }

    /// Attached: which probes it replaces; empty if none. Otherwise: why it is not attached.
    pub fn detail(&self) -> Cow<'_, str> {
        match &self.status {
            Status::Attached => "".into(),
            Status::Fallback { replaces } => format!("replaces {}", replaces.join(", ")).into(),
            Status::Replaced { why, .. } | Status::Missing { why } => why.into(),
        }
    }

    /// What its absence costs, in words.
    pub fn degrades(&self) -> Cow<'static, str> {
        match self.status {
            Status::Replaced { by, lost: None, .. } => format!("nothing: {by} gives the same evidence").into(),
            Status::Replaced { lost: Some(lost), .. } => lost.into(),
            _ => self.evidence.into(),
        }
    }
}

/// Every hook of this host, in the order of the documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes(pub Vec<Probe>);

impl Probes {
    /// Whether every required probe is attached.
    pub fn ready(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Required probes that are not attached.
    pub fn missing(&self) -> impl Iterator<Item = &Probe> {
        self.0.iter().filter(|probe| probe.required && !probe.is_attached())
    }

    /// Whether the probe of this name, or one that replaces it, is attached.
    pub fn is_covered(&self, name: &str) -> bool {
        let covers = |probe: &Probe| probe.is_attached() || matches!(probe.status, Status::Replaced { .. });
        self.0.iter().any(|probe| probe.name == name && covers(probe))
    }

    /// Whether the probe of this name is attached.
    pub fn is_attached(&self, name: &str) -> bool {
        self.0.iter().any(|probe| probe.name == name && probe.is_attached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(required: bool, status: Status) -> Probe {
        Probe { name: "p", required, status, evidence: "TTLs" }
    }

    fn missing() -> Status {
        Status::Missing { why: "EPERM".into() }
    }

    fn replaced(lost: Option<&'static str>) -> Status {
        Status::Replaced { why: "EPERM".into(), by: "q", lost }
    }

    #[test]
    fn only_required_probes_decide_readiness() {
        let cases = [
            (vec![], true),
            (vec![probe(true, Status::Attached)], true),
            (vec![probe(true, Status::Attached), probe(false, missing())], true),
            (vec![probe(true, missing()), probe(false, Status::Attached)], false),
        ];
        for (probes, ready) in cases {
            assert_eq!(Probes(probes.clone()).ready(), ready, "{probes:?}");
        }
    }

    #[test]
    fn each_status_names_its_state_and_its_loss() {
        let fallback = Status::Fallback { replaces: vec!["a", "b"] };
        for (status, state, lost, detail, degrades) in [
            (Status::Attached, "ok", None, "", "TTLs"),
            (fallback, "fallback", None, "replaces a, b", "TTLs"),
            (replaced(None), "missing", None, "EPERM", "nothing: q gives the same evidence"),
            (replaced(Some("a few TTLs")), "missing", Some("a few TTLs"), "EPERM", "a few TTLs"),
            (missing(), "missing", Some("TTLs"), "EPERM", "TTLs"),
        ] {
            let probe = probe(false, status);
            assert_eq!((probe.state(), probe.lost()), (state, lost), "{probe:?}");
            assert_eq!((&*probe.detail(), &*probe.degrades()), (detail, degrades), "{probe:?}");
            assert_eq!((probe.is_missed(), probe.is_attached()), (lost.is_some(), state != "missing"), "{probe:?}");
        }
    }
}
