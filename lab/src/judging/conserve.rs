//! Conservation: the daemon must count as sent exactly what the kernel sent in all namespaces plus what reject rules sent, even
//! if events were lost.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use libc::ECONNREFUSED;

use crate::judging::judge::settled;
use crate::judging::report::Report;
use crate::kernel;
use crate::network::host::{Family, Host, at};
use crate::network::net::Net;
use crate::network::nft::Rejects;
use crate::network::procnet::{out_rsts, own_out_rsts};
use crate::network::sock::{Listener, Tcp, expect};
use crate::watchers::agents::Agents;

/// Half of the burst's resets: refused SYNs in one thread, aborts in another. An emulated machine makes a tenth of them.
fn half() -> u32 {
    if kernel::is_ours() { 1_000 } else { 10_000 }
}

const SETTLES: Duration = Duration::from_secs(10);

/// The counts at the start of the lab.
pub(crate) struct Conservation {
    kernel: u64,
    daemon: u64,
}

impl Conservation {
    pub(crate) fn begin(net: &Net, agents: Option<&Agents>) -> Result<Self> {
        Ok(Self { kernel: kernel(net)?, daemon: daemon(agents)? })
    }

    /// Compares the counts, and reports the result.
    pub(crate) fn check(
        &self,
        when: &str,
        net: &Net,
        rejects: &Rejects,
        agents: Option<&Agents>,
        report: &mut Report,
    ) -> Result<()> {
        let made = kernel(net)? - self.kernel + rejects.total();
        if agents.is_none() {
            report.skip(&format!("conservation, {when}"), &format!("no daemon; {made} made"));
            return Ok(());
        }
        let counted = || Ok(daemon(agents)?.saturating_sub(self.daemon));
        let got = settled(SETTLES, made, counted);
        report.enter_result(when, "metrics", format!("{made} resets sent, all counted"), got);
        Ok(())
    }

    /// Makes resets in two threads, as fast as they can.
    pub(crate) fn burst(&self, net: &Net, port: u16) -> Result<()> {
        let half = half();
        eprintln!("burst: {} resets", 2 * half);
        let (client, server) = (&net.client, &net.server);
        let closed = at(Family::V4.server(), port);
        let open = at(Family::V4.server(), port + 1);
        thread::scope(|scope| {
            let refused = scope.spawn(move || {
                (0..half).try_for_each(|_| expect(ECONNREFUSED, Tcp::new(client, closed)?.join(closed)))
            });
            let aborted = scope.spawn(move || {
                let listener = Listener::open(server, open, 16)?;
                (0..half).try_for_each(|_| {
                    let _client = Tcp::connect(client, open)?;
                    listener.accept()?.abort()
                })
            });
            let panicked = |_| Err(anyhow!("a thread of the burst panicked"));
            refused.join().unwrap_or_else(panicked)?;
            aborted.join().unwrap_or_else(panicked)
        })
    }
}

/// `TcpOutRsts` of the namespaces that the daemon watches: all of them in a VM.
fn kernel(net: &Net) -> Result<u64> {
    let own = if kernel::is_ours() { own_out_rsts()? } else { 0 };
    Host::ALL.iter().map(|host| out_rsts(net.ns(*host))).sum::<Result<u64>>().map(|sum| sum + own)
}

fn daemon(agents: Option<&Agents>) -> Result<u64> {
    agents.map_or(Ok(0), |agents| Ok(agents.daemon.metrics()?.sent(None)))
}
