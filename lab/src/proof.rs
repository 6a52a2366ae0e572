//! Proof by the kernel's own counters that a scenario made its resets, and no others.

use anyhow::{Result, bail};

use super::net::Net;
use super::place::Place;
use super::procnet::out_rsts;
use super::rows::Scene;
use super::table::Row;
use super::wait::{SOON, until_true};

/// The counters before a scenario.
pub(super) struct Proof {
    rsts: Vec<u64>,
    rejects: u64,
}

impl Proof {
    pub(super) fn begin(scene: &Scene) -> Result<Self> {
        Ok(Self { rsts: rsts(scene.net)?, rejects: scene.rejects.total() })
    }

    /// Compares the counters with what the row says.
    pub(super) fn end(&self, scene: &Scene, row: &Row) -> Result<()> {
        let expected: Vec<u64> = Place::ALL
            .iter()
            .map(|place| row.rsts.iter().filter(|(at, _)| at == place).map(|(_, n)| n).sum())
            .collect();
        let moved = || -> Result<Vec<u64>> {
            let now = rsts(scene.net)?;
            Ok(now.iter().zip(&self.rsts).map(|(now, then)| now - then).collect())
        };
        let enough = || Ok(moved()?.iter().zip(&expected).all(|(moved, wanted)| moved >= wanted));
        // A timeout is reported below, with the numbers.
        let _ = until_true("the kernel's count", SOON, enough);
        let moved = moved()?;
        let most = if row.more { &moved } else { &expected };
        if moved.iter().zip(&expected).any(|(moved, least)| moved < least) || moved != *most {
            bail!("OutRsts at c r s s2 moved by {moved:?} instead of {expected:?}");
        }
        let rejects = scene.rejects.total() - self.rejects;
        if rejects != row.rejects {
            bail!("rules rejected {rejects} packets instead of {}", row.rejects);
        }
        Ok(())
    }
}

fn rsts(net: &Net) -> Result<Vec<u64>> {
    Place::ALL.iter().map(|place| out_rsts(net.ns(*place))).collect()
}
