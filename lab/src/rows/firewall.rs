//! `reject with tcp reset`, by netfilter hook. The kernel's reset tracepoints do not fire for these.

use anyhow::Result;
use libc::{ECONNREFUSED, ECONNRESET};

use super::middlebox::untouched;
use super::{HELLO, Scene};
use crate::network::host::Host;
use crate::network::nft::Rule;
use crate::network::ns::Ns;
use crate::network::sock::{Tcp, expect};
use crate::rows::table::{BASE, BOTH, C, FIREWALL, ON_PATH, R, REFUSED_ALIKE, Row, S, rejected, sent};
use crate::wait::SOON;

const REMOVED_CONTAINER: &str = "a host sends the same packet for a container that no longer exists";
pub(super) const ON_PEERS_HOST: &str =
    "a firewall on the peer's host sends the same packet as a stack that does not know the connection";

pub(crate) const ROWS: &[Row] = &[
    Row {
        id: "8-input",
        what: "server's input hook rejects a SYN",
        families: BOTH,
        make: input,
        rejects: 1,
        wants: &[sent(S, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", S).why(REFUSED_ALIKE)],
        ..BASE
    },
    Row {
        id: "8-input-busy",
        what: "server's input hook rejects a busy connection",
        families: BOTH,
        make: input_busy,
        rejects: 1,
        wants: &[sent(S, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", S).why(ON_PEERS_HOST)],
        ..BASE
    },
    Row {
        id: "8-ingress",
        what: "server's netdev ingress hook rejects a SYN",
        families: BOTH,
        unless: no_ingress_reject,
        make: ingress,
        rejects: 1,
        wants: &[sent(S, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", S).why(REFUSED_ALIKE)],
        ..BASE
    },
    Row {
        id: "8-ingress-busy",
        what: "server's netdev ingress hook rejects a busy connection",
        unless: no_ingress_reject,
        make: ingress_busy,
        rejects: 1,
        wants: &[sent(S, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", S).why(ON_PEERS_HOST)],
        ..BASE
    },
    Row {
        id: "8-iptables",
        what: "server's iptables-nft or ip6tables-nft rule rejects a SYN",
        families: BOTH,
        needs: &["iptables-nft", "ip6tables-nft"],
        make: iptables_nft,
        rejects: 1,
        wants: &[sent(S, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", S).why(REFUSED_ALIKE)],
        ..BASE
    },
    Row {
        id: "8-legacy",
        what: "server's iptables-legacy or ip6tables-legacy rule rejects a SYN",
        families: BOTH,
        needs: &["iptables-legacy", "ip6tables-legacy"],
        unless: no_legacy,
        make: iptables_legacy,
        rejects: 1,
        wants: &[sent(S, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", S).why(REFUSED_ALIKE)],
        ..BASE
    },
    Row {
        id: "8-forward",
        what: "router's forward hook rejects a busy connection",
        families: BOTH,
        make: forward_busy,
        rejects: 1,
        wants: &[sent(R, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", R).why(ON_PATH)],
        ..BASE
    },
    Row {
        id: "8-forward-syn",
        what: "router's forward hook rejects a SYN to a server that the client knows",
        families: BOTH,
        make: forward_syn,
        rejects: 1,
        wants: &[
            sent(R, "firewall_reject", FIREWALL).rejects(),
            rejected(C, "firewall_reject", R).why(REMOVED_CONTAINER),
        ],
        ..BASE
    },
    Row {
        id: "8-forward-push",
        what: "router's forward hook rejects data from the server",
        make: forward_push,
        rejects: 1,
        wants: &[sent(R, "firewall_reject", FIREWALL).rejects(), rejected(S, "firewall_reject", R).why(ON_PATH)],
        ..BASE
    },
    Row {
        id: "8-output",
        what: "client's own output hook rejects a busy connection",
        families: BOTH,
        make: output,
        rejects: 1,
        wants: &[sent(C, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", C)],
        ..BASE
    },
    Row {
        id: "8-output-syn",
        what: "client's own output hook rejects its SYN",
        families: BOTH,
        make: output_syn,
        rejects: 1,
        wants: &[sent(C, "firewall_reject", FIREWALL).rejects(), rejected(C, "firewall_reject", C)],
        ..BASE
    },
    Row {
        id: "8-output-server",
        what: "server's own output hook rejects its data",
        make: output_server,
        rejects: 1,
        wants: &[sent(S, "firewall_reject", FIREWALL).rejects(), rejected(S, "firewall_reject", S)],
        ..BASE
    },
];

const LINK: &str = "eth0";

fn input(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let rule = reject(scene, &scene.net.server, "input")?;
    refused(scene, &rule)
}

fn input_busy(scene: &Scene) -> Result<()> {
    reset_busy(scene, || reject(scene, &scene.net.server, "input"))
}

fn ingress(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let rule = at_ingress(scene)?;
    refused(scene, &rule)
}

fn ingress_busy(scene: &Scene) -> Result<()> {
    reset_busy(scene, || at_ingress(scene))
}

fn at_ingress<'a>(scene: &Scene<'a>) -> Result<Rule<'a>> {
    Rule::reject_at_ingress(&scene.net.server, scene.rejects, LINK, &scene.to_server())
}

/// nftables can reject at ingress since Linux 5.11.
fn no_ingress_reject(scene: &Scene) -> Option<String> {
    at_ingress(scene).err().map(|why| format!("no reject at netdev ingress: {why:#}"))
}

fn no_legacy(scene: &Scene) -> Option<String> {
    legacy(scene).err().map(|why| format!("no legacy iptables: {why:#}"))
}

fn legacy<'a>(scene: &Scene<'a>) -> Result<Rule<'a>> {
    by_iptables(scene, ["iptables-legacy", "ip6tables-legacy"])
}

fn by_iptables<'a>(scene: &Scene<'a>, programs: [&'static str; 2]) -> Result<Rule<'a>> {
    let program = if scene.server().is_ipv4() { programs[0] } else { programs[1] };
    Rule::iptables_reject(&scene.net.server, scene.rejects, program, scene.port)
}

fn iptables_nft(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let rule = by_iptables(scene, ["iptables-nft", "ip6tables-nft"])?;
    refused(scene, &rule)
}

fn iptables_legacy(scene: &Scene) -> Result<()> {
    let _listener = scene.listen()?;
    let rule = legacy(scene)?;
    refused(scene, &rule)
}

fn forward_busy(scene: &Scene) -> Result<()> {
    reset_busy(scene, || reject(scene, &scene.net.router, "forward"))
}

fn output(scene: &Scene) -> Result<()> {
    reset_busy(scene, || reject(scene, &scene.net.client, "output"))
}

fn output_syn(scene: &Scene) -> Result<()> {
    let rule = reject(scene, &scene.net.client, "output")?;
    refused(scene, &rule)
}

/// Before the rule is added, makes a connection from which the watcher learns the server's distance.
fn forward_syn(scene: &Scene) -> Result<()> {
    let listener = scene.listen()?;
    let (client, server) = (scene.connect()?, listener.accept()?);
    scene.talk(&client, &server)?;
    client.close();
    server.reads_eof()?;
    server.close();
    scene.is_over(Host::Client)?;
    let rule = reject(scene, &scene.net.router, "forward")?;
    refused(scene, &rule)
}

fn forward_push(scene: &Scene) -> Result<()> {
    pushed(scene, &scene.net.router, "forward")
}

fn output_server(scene: &Scene) -> Result<()> {
    pushed(scene, &scene.net.server, "output")
}

/// The server's next data are rejected before they reach the client.
fn pushed<'a>(scene: &Scene<'a>, ns: &'a Ns, hook: &str) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let data = format!("tcp sport {} tcp flags & psh == psh", scene.port);
    let rule = Rule::reject(ns, scene.rejects, hook, &data)?;
    server.send(HELLO)?;
    server.read_fails(ECONNRESET)?;
    rule.has_matched(1, SOON)?;
    drop(client);
    Ok(())
}

pub(super) fn reject<'a>(scene: &Scene<'a>, ns: &'a Ns, hook: &str) -> Result<Rule<'a>> {
    Rule::reject(ns, scene.rejects, hook, &scene.to_server())
}

fn refused(scene: &Scene, rule: &Rule) -> Result<()> {
    let client = Tcp::new(&scene.net.client, scene.server())?;
    expect(ECONNREFUSED, client.join(scene.server()))?;
    rule.has_matched(1, SOON)
}

fn reset_busy<'a>(scene: &Scene<'a>, rule: impl FnOnce() -> Result<Rule<'a>>) -> Result<()> {
    let (client, server) = scene.pair()?;
    scene.busy();
    let rule = rule()?;
    client.send(HELLO)?;
    client.read_fails(ECONNRESET)?;
    rule.has_matched(1, SOON)?;
    untouched(scene, &server)
}
