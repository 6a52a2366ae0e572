//! Metrics of the probes.

use std::fmt;

use crate::kernel::probe::{Probe, Probes};
use crate::metric::{Family, Label, Writer};

const PROBE: Label = Label::new("probe", "name of a probe, as `rstwatch check` lists it");

/// What is attached, and what is missed.
pub const FAMILIES: &[Family<Probes>] = &[
    Family::gauge("probe_attached", "1 if the probe is attached to the kernel, else 0.", |it, out| {
        probes(it, out, Probe::is_attached)
    })
    .labels(&[PROBE]),
    Family::gauge(
        "probe_missed",
        "1 if the probe is not attached and no other probe gives all of its evidence, else 0.",
        |it, out| probes(it, out, Probe::is_missed),
    )
    .labels(&[PROBE]),
];

fn probes(probes: &Probes, out: Writer<'_, '_>, value: fn(&Probe) -> bool) -> fmt::Result {
    let mut samples = out.samples()?;
    for probe in &probes.0 {
        samples.gauge(&[probe.name], u64::from(value(probe)))?;
    }
    Ok(())
}
