//! Both ends of one reset on either side of an address translation: a virtual address, masquerading, and both at once.

use anyhow::Result;
use libc::{ECONNREFUSED, ECONNRESET, EPIPE};

use super::{HELLO, Scene};
use crate::network::host::{Host, at};
use crate::network::nft::Rule;
use crate::network::peer::Peer;
use crate::network::procnet::State;
use crate::network::sock::{Tcp, expect};
use crate::rows::table::{A_FIN, APP, BASE, BOTH, C, KERNEL, LIVE_SOCKET, PEER, Row, S, Want, received, sent};
use crate::wait::{SOON, readable};

/// What the router translates.
#[derive(Clone, Copy)]
enum Nat {
    /// The destination: the client knows the router's address.
    Destination,
    /// The source: the server knows the router's address.
    Source,
    /// Either end knows the router's address.
    Both,
    /// Either end knows the router's address, and the server another port.
    BothAndPort,
}

use Nat::{Both, BothAndPort, Destination, Source};

const SERVER_ABORTS: &[Want] =
    &[sent(S, "linger_abort", APP).sure(), received(C, "linger_abort", PEER).why(LIVE_SOCKET)];
const CLIENT_ABORTS: &[Want] =
    &[sent(C, "linger_abort", APP).sure(), received(S, "linger_abort", PEER).why(LIVE_SOCKET)];
const UNREAD: &[Want] = &[sent(S, "unread_data", APP).sure(), received(C, "unread_data", PEER).why(LIVE_SOCKET)];
const KILLED: &[Want] = &[sent(S, "process_died", APP).sure(), received(C, "process_died", PEER).why(LIVE_SOCKET)];
const LATE_DATA: &[Want] =
    &[sent(S, "data_after_close", KERNEL).no_socket(), received(C, "data_after_close", PEER).why(A_FIN)];
const REFUSED: &[Want] = &[sent(S, "refused", KERNEL).sure().no_socket(), received(C, "refused", PEER)];

const fn row(id: &'static str, what: &'static str, make: fn(&Scene) -> Result<()>, wants: &'static [Want]) -> Row {
    Row { id, what, families: BOTH, make, rsts: &[(S, 1)], wants, ..BASE }
}

const fn by_client(row: Row) -> Row {
    Row { rsts: &[(C, 1)], ..row }
}

pub(crate) const ROWS: &[Row] = &[
    row("dnat-linger", "server behind a virtual address aborts", |s| aborted(s, Destination), SERVER_ABORTS),
    row("snat-linger", "server aborts a masqueraded client", |s| aborted(s, Source), SERVER_ABORTS),
    row(
        "nat-linger",
        "server behind a virtual address aborts a masqueraded client",
        |s| aborted(s, Both),
        SERVER_ABORTS,
    ),
    row(
        "nat-port-linger",
        "server behind a virtual address aborts a client that is masqueraded with another port",
        |s| aborted(s, BothAndPort),
        SERVER_ABORTS,
    ),
    by_client(row("dnat-client", "client of a virtual address aborts", |s| hung_up(s, Destination), CLIENT_ABORTS)),
    by_client(row("snat-client", "masqueraded client aborts", |s| hung_up(s, Source), CLIENT_ABORTS)),
    by_client(row("nat-client", "masqueraded client of a virtual address aborts", |s| hung_up(s, Both), CLIENT_ABORTS)),
    row(
        "dnat-unread",
        "server behind a virtual address closes with a request unread",
        |s| unread(s, Destination),
        UNREAD,
    ),
    row("snat-unread", "server closes with a masqueraded client's request unread", |s| unread(s, Source), UNREAD),
    row(
        "nat-unread",
        "server behind a virtual address closes with a masqueraded client's request unread",
        |s| unread(s, Both),
        UNREAD,
    ),
    row(
        "dnat-kill",
        "server behind a virtual address is killed with a request unread",
        |s| killed(s, Destination),
        KILLED,
    ),
    row("snat-kill", "server is killed with a masqueraded client's request unread", |s| killed(s, Source), KILLED),
    row(
        "nat-kill",
        "server behind a virtual address is killed with a masqueraded client's request unread",
        |s| killed(s, Both),
        KILLED,
    ),
    row(
        "dnat-late",
        "server behind a virtual address closes, then the client writes",
        |s| late(s, Destination),
        LATE_DATA,
    ),
    row("snat-late", "server closes, then the masqueraded client writes", |s| late(s, Source), LATE_DATA),
    row(
        "nat-late",
        "server behind a virtual address closes, then the masqueraded client writes",
        |s| late(s, Both),
        LATE_DATA,
    ),
    row("dnat-refused", "connect to a closed port behind a virtual address", |s| refused(s, Destination), REFUSED),
    row("snat-refused", "masqueraded connect to a closed port", |s| refused(s, Source), REFUSED),
    row("nat-refused", "masqueraded connect to a closed port behind a virtual address", |s| refused(s, Both), REFUSED),
];

impl Nat {
    /// The router's rules, and the address to which the client connects.
    fn set_up<'a>(self, scene: &Scene<'a>) -> Result<(Vec<Rule<'a>>, std::net::SocketAddr)> {
        let router = &scene.net.router;
        let virtual_address = at(scene.family.gateway(), scene.port);
        let masquerade = |how: &str| {
            let rule = format!("tcp dport {} masquerade {how}", scene.port);
            Rule::nat(router, "postrouting", rule.trim_end())
        };
        let dnat = || Rule::dnat(router, virtual_address, scene.server());
        Ok(match self {
            Destination => (vec![dnat()?], virtual_address),
            Source => (vec![masquerade("")?], scene.server()),
            Both => (vec![dnat()?, masquerade("")?], virtual_address),
            BothAndPort => (vec![dnat()?, masquerade("to :40000-59999 random")?], virtual_address),
        })
    }

    /// A connection through the router that has just been used in both directions.
    fn pair<'a>(self, scene: &Scene<'a>) -> Result<(Vec<Rule<'a>>, Tcp, Tcp)> {
        let (rules, to) = self.set_up(scene)?;
        let listener = scene.listen()?;
        let client = Tcp::connect(&scene.net.client, to)?;
        let server = listener.accept()?;
        scene.talk(&client, &server)?;
        scene.busy();
        Ok((rules, client, server))
    }
}

fn aborted(scene: &Scene, nat: Nat) -> Result<()> {
    let (_rules, client, server) = nat.pair(scene)?;
    server.abort()?;
    client.read_fails(ECONNRESET)
}

fn hung_up(scene: &Scene, nat: Nat) -> Result<()> {
    let (_rules, client, server) = nat.pair(scene)?;
    client.abort()?;
    server.read_fails(ECONNRESET)
}

fn unread(scene: &Scene, nat: Nat) -> Result<()> {
    let (_rules, client, server) = nat.pair(scene)?;
    client.send(HELLO)?;
    // Close before the delayed ACK is sent.
    readable(server.options())?;
    server.close();
    client.read_fails(ECONNRESET)
}

fn killed(scene: &Scene, nat: Nat) -> Result<()> {
    let (_rules, to) = nat.set_up(scene)?;
    let mut peer = Peer::start(&scene.net.server, &scene.net.cleanup, "read-nothing", scene.server(), 1)?;
    let client = Tcp::connect(&scene.net.client, to)?;
    peer.expect_line("accepted")?;
    client.send(HELLO)?;
    peer.expect_line("unread")?;
    peer.kill();
    client.read_fails(ECONNRESET)
}

fn late(scene: &Scene, nat: Nat) -> Result<()> {
    let (_rules, client, server) = nat.pair(scene)?;
    server.close();
    scene.reaches(Host::Client, State::CLOSE_WAIT, SOON)?;
    scene.reaches(Host::Server, State::FIN_WAIT2, SOON)?;
    client.send(HELLO)?;
    client.error_is(EPIPE)
}

fn refused(scene: &Scene, nat: Nat) -> Result<()> {
    let (_rules, to) = nat.set_up(scene)?;
    expect(ECONNREFUSED, Tcp::new(&scene.net.client, to)?.join(to))
}
