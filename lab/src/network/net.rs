//! The lab's network: client – router – server, and a second server that stays empty
//! until a scenario "reboots" the first one.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process;
use std::time::Duration;

use anyhow::Result;

use crate::network::cleanup::Cleanup;
use crate::network::host::{Host, at};
use crate::network::ns::Ns;
use crate::network::peer;
use crate::wait::{SOON, until_true};

/// Source ports of the namespaces. Server ports lie below, so the two are never confused.
const SOURCE_PORTS: &str = "40000 60999";

/// Name of the network device in the client and in either server.
const WIRE: &str = "eth0";
const TO_CLIENT: &str = "client";
const TO_SERVER: &str = "server";
/// A port without a listener.
const DISCARD: u16 = 9;

/// The four namespaces and their links, removed when dropped.
pub(crate) struct Net {
    pub(crate) client: Ns,
    pub(crate) router: Ns,
    pub(crate) server: Ns,
    pub(crate) rebooted: Ns,
    // Last, because it removes the namespaces, which nothing may hold by then.
    pub(crate) cleanup: Cleanup,
}

impl Net {
    pub(crate) fn build() -> Result<Self> {
        let cleanup = Cleanup::start(peer::command(&["cleanup"])?)?;
        let add = |host: Host| {
            let name = format!("rw{}-{}", process::id(), host.letter());
            cleanup.namespace(&name)?;
            Ns::add(name)
        };
        let net = Self {
            client: add(Host::Client)?,
            router: add(Host::Router)?,
            server: add(Host::Server)?,
            rebooted: add(Host::Rebooted)?,
            cleanup,
        };
        for host in Host::ALL {
            settle(net.ns(host))?;
        }
        net.router.sysctl("ipv4.ip_forward", "1")?.keep();
        net.router.sysctl("ipv6.conf.all.forwarding", "1")?.keep();
        wire(&net.router, TO_CLIENT, &net.client)?;
        wire(&net.router, TO_SERVER, &net.server)?;
        address(&net.router, TO_CLIENT, "10.77.1.1/24", "fd77:1::1/64")?;
        address(&net.router, TO_SERVER, "10.77.2.1/24", "fd77:2::1/64")?;
        address(&net.client, WIRE, "10.77.1.2/24", "fd77:1::2/64")?;
        route(&net.client, "10.77.1.1", "fd77:1::1")?;
        net.plug(&net.server)?;
        Ok(net)
    }

    pub(crate) fn ns(&self, host: Host) -> &Ns {
        match host {
            Host::Client => &self.client,
            Host::Router => &self.router,
            Host::Server => &self.server,
            Host::Rebooted => &self.rebooted,
        }
    }

    /// Moves the server's device, with its MAC address, into a namespace without the old connections: a reboot, as the network
    /// sees it.
    pub(crate) fn reboot(&self) -> Result<Reboot<'_>> {
        let reboot = Reboot { net: self };
        unplug(&self.server, &self.rebooted)?;
        self.plug(&self.rebooted)?;
        Ok(reboot)
    }

    fn plug(&self, server: &Ns) -> Result<()> {
        address(server, WIRE, "10.77.2.2/24", "fd77:2::2/64")?;
        route(server, "10.77.2.1", "fd77:2::1")?;
        for router in ["10.77.2.1", "fd77:2::1"] {
            reaches(server, router)?;
        }
        for server in ["10.77.2.2", "fd77:2::2"] {
            reaches(&self.router, server)?;
        }
        Ok(())
    }
}

/// Moves the device back to the old server when dropped.
pub(crate) struct Reboot<'a> {
    net: &'a Net,
}

impl Drop for Reboot<'_> {
    fn drop(&mut self) {
        let back = unplug(&self.net.rebooted, &self.net.server).and_then(|()| self.net.plug(&self.net.server));
        if let Err(why) = back {
            eprintln!("cannot move the device back to the server: {why:#}");
        }
    }
}

fn settle(ns: &Ns) -> Result<()> {
    ns.sysctl("ipv4.ip_local_port_range", SOURCE_PORTS)?.keep();
    ns.sysctl("ipv6.conf.default.accept_dad", "0")?.keep();
    ip(ns, "link set lo up")
}

fn wire(router: &Ns, port: &str, other: &Ns) -> Result<()> {
    let peer = other.name();
    ip(router, &format!("link add {port} type veth peer name {WIRE} netns {peer}"))
}

fn unplug(from: &Ns, to: &Ns) -> Result<()> {
    ip(from, &format!("link set {WIRE} netns {}", to.name()))
}

fn address(ns: &Ns, link: &str, v4: &str, v6: &str) -> Result<()> {
    ip(ns, &format!("addr add {v4} dev {link}"))?;
    ip(ns, &format!("-6 addr add {v6} dev {link} nodad"))?;
    ip(ns, &format!("link set {link} up"))
}

fn route(ns: &Ns, v4: &str, v6: &str) -> Result<()> {
    ip(ns, &format!("route replace default via {v4}"))?;
    ip(ns, &format!("-6 route replace default via {v6}"))
}

/// Sends a datagram to a closed port until it is refused: then the path works both ways, and no scenario has to resolve
/// addresses first.
fn reaches(ns: &Ns, to: &str) -> Result<()> {
    let closed = at(to.parse()?, DISCARD);
    let any = if closed.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let echo = ns.run(|| Ok(UdpSocket::bind(any)?))?;
    echo.set_read_timeout(Some(Duration::from_millis(100)))?;
    let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
    until_true(&format!("{} reaches {to}", ns.name()), 2 * SOON, || {
        let sent = echo.connect(closed).and_then(|()| echo.send(&[0]));
        let answer = sent.and_then(|_| echo.recv(&mut [0]));
        Ok(answer.is_err_and(refused))
    })
}

fn ip(ns: &Ns, words: &str) -> Result<()> {
    ns.tool("ip", &words.split(' ').collect::<Vec<_>>()).map(drop)
}
