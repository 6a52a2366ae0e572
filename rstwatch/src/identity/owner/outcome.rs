//! What an event's owner was resolved to, for the metric.

/// What an owner counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A pod, by its name or as opted out.
    Pod,
    /// A container that is not known to belong to a pod.
    Container,
    /// A systemd unit.
    Unit,
    /// A process alone.
    Process,
    /// The cgroup or pod was unknown when the event was delivered.
    Unresolved,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Pod, Self::Container, Self::Unit, Self::Process, Self::Unresolved];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Unit => "unit",
            Self::Process => "process",
            Self::Unresolved => "unresolved",
        }
    }
}
