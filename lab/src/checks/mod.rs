//! Checks beyond single rows: proof of each scenario, owners, accept queues, alerts.

pub(crate) mod alerts;
pub(crate) mod owners;
pub(crate) mod proof;
pub(crate) mod queues;
