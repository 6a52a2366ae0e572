//! What is attached to the kernel, and what its absence costs.

/// One hook into the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its fixed name, the label of `probe_attached`.
    pub name: &'static str,
    /// Whether the agent is of no use without it.
    pub required: bool,
    /// Whether it is attached.
    pub attached: bool,
    /// Attached: which probe it stands in for, empty if none. Otherwise: why not.
    pub detail: String,
    /// What is lost without it.
    pub degrades: &'static str,
}

impl Probe {
    /// The state in one word: `ok`, `fallback` or `missing`.
    pub fn state(&self) -> &'static str {
        match (self.attached, self.detail.is_empty()) {
            (true, true) => "ok",
            (true, false) => "fallback",
            (false, _) => "missing",
        }
    }

    /// Whether something is lost: where another probe stands in, `degrades` begins with "nothing".
    pub fn is_missed(&self) -> bool {
        !self.attached && !self.degrades.starts_with("nothing")
    }
}

/// Every hook, in the order of the documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes(pub Vec<Probe>);

impl Probes {
    /// Whether every required probe is attached.
    pub fn ready(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Required probes that are not attached.
    pub fn missing(&self) -> impl Iterator<Item = &Probe> {
        self.0.iter().filter(|probe| probe.required && !probe.attached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(required: bool, attached: bool, detail: &str) -> Probe {
        Probe { name: "p", required, attached, detail: detail.into(), degrades: "" }
    }

    #[test]
    fn only_required_probes_decide_readiness() {
        let cases = [
            (vec![], true),
            (vec![probe(true, true, "")], true),
            (vec![probe(true, true, ""), probe(false, false, "no BTF")], true),
            (vec![probe(true, false, "EPERM"), probe(false, true, "")], false),
        ];
        for (probes, ready) in cases {
            assert_eq!(Probes(probes.clone()).ready(), ready, "{probes:?}");
        }
    }

    #[test]
    fn a_fallback_is_no_failure() {
        assert_eq!(probe(true, true, "").state(), "ok");
        assert_eq!(probe(true, true, "by cgroup_skb").state(), "fallback");
        assert_eq!(probe(true, false, "EPERM").state(), "missing");
    }
}
