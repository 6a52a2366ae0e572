//! Proof by the kernel's own counters that a scenario made its resets, and no others.

use anyhow::{Result, bail};

use crate::network::host::Host;
use crate::network::net::Net;
use crate::network::procnet::out_rsts;
use crate::rows::Scene;
use crate::rows::table::Row;
use crate::wait::{SOON, until_true};

/// The counters before a scenario.
pub(crate) struct Proof {
    rsts: Vec<u64>,
    rejects: u64,
}

impl Proof {
    pub(crate) fn begin(scene: &Scene) -> Result<Self> {
        Ok(Self { rsts: rsts(scene.net)?, rejects: scene.rejects.total() })
    }

    /// Compares the counters with what the row says.
    pub(crate) fn end(&self, scene: &Scene, row: &Row) -> Result<()> {
        let expected: Vec<u64> =
            Host::ALL.iter().map(|host| row.rsts.iter().filter(|(at, _)| at == host).map(|(_, n)| n).sum()).collect();
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
    Host::ALL.iter().map(|host| out_rsts(net.ns(*host))).collect()
}
