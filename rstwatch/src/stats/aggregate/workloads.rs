//! The bounded set of workloads that have series of their own.

use std::sync::{Arc, LazyLock};

use foldhash::HashMap;

use super::rows::Rows;
use rstwatch_verdict::event::{Workload, WorkloadKind};

/// Maximum workloads with series of their own, unless configured otherwise.
pub const DEFAULT_LIMIT: usize = 1_000;

/// Identifies a workload within one [`Totals`](super::Totals).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(usize);

impl WorkloadId {
    /// The owner is unknown.
    pub const UNKNOWN: Self = Self(0);
    /// The workload is beyond the limit.
    pub const OTHER: Self = Self(1);
}

/// A workload as label values; unknown ones are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    /// `pod`, `container`, `unit` or `process`.
    pub kind: &'static str,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Name; `_other`, with empty kind and namespace, for workloads beyond the limit.
    pub workload: Arc<str>,
}

impl From<&Workload> for Labels {
    fn from(workload: &Workload) -> Self {
        // All pods of a controller share one series, and so do all containers of a pod.
        let Workload { kind, namespace, name, container: _, controller } = workload;
        let name = controller.as_ref().map_or(name, |controller| &controller.name);
        Self { kind: kind.as_str(), namespace: namespace.clone().unwrap_or_default(), workload: name.clone() }
    }
}

/// Containers without a pod get at most the limit divided by this. Their ids change constantly and would otherwise use up all
/// series.
const CONTAINER_DIVISOR: usize = 2;

/// Ids by labels.
pub(super) type Ids = HashMap<Arc<Labels>, WorkloadId>;

#[derive(Clone, Debug)]
pub(super) struct Workloads {
    limit: usize,
    /// Number of containers with series of their own.
    containers: usize,
    by_id: Rows<Arc<Labels>>,
}

impl Workloads {
    pub(super) fn new(limit: usize) -> Self {
        let other = Labels { workload: "_other".into(), ..Labels::default() };
        let mut by_id = Rows::default();
        for labels in [Labels::default(), other] {
            by_id.push(Arc::new(labels));
        }
        Self { limit, containers: 0, by_id }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The workload's own id below the limit, [`WorkloadId::OTHER`] beyond it.
    pub(super) fn id(&mut self, workload: Option<&Workload>, ids: &mut Ids) -> WorkloadId {
        let Some(workload) = workload else { return WorkloadId::UNKNOWN };
        let labels = Labels::from(workload);
        match ids.get(&labels) {
            Some(id) => *id,
            None if self.has_free_slot(workload.kind, ids.len()) => self.admit(workload.kind, labels, ids),
            None => WorkloadId::OTHER,
        }
    }

    fn has_free_slot(&self, kind: WorkloadKind, named: usize) -> bool {
        // Rounded up, so that a limit of 1 admits a container.
        let container_limit = self.limit.div_ceil(CONTAINER_DIVISOR);
        named < self.limit && (kind != WorkloadKind::Container || self.containers < container_limit)
    }

    fn admit(&mut self, kind: WorkloadKind, labels: Labels, ids: &mut Ids) -> WorkloadId {
        self.containers += usize::from(kind == WorkloadKind::Container);
        let labels = Arc::new(labels);
        let id = WorkloadId(self.by_id.push(Arc::clone(&labels)));
        ids.insert(labels, id);
        id
    }

    pub(super) fn labels(&self, id: WorkloadId) -> &Labels {
        static NONE: LazyLock<Labels> = LazyLock::new(Labels::default);
        self.by_id.get(id.0).map_or(&NONE, |labels| labels)
    }
}
