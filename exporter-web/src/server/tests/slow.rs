//! Scrapes are served in time among a thousand slow clients, and slow clients are cut off.

use std::io::ErrorKind;

use rustix::net::sockopt;

use super::*;

const CLIENTS: u64 = 1_000;

/// Permits as many sockets as the clients and the server need.
fn raise_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("raised");
}

/// How long a scrape takes; the response must be complete.
fn scrape(get: impl Fn() -> (u16, String)) -> Duration {
    let began = Instant::now();
    let (status, text) = get();
    assert_eq!(status, 200, "{text}");
    assert!(text.ends_with(END), "cut off after {} bytes", text.len());
    began.elapsed()
}

/// The median time of nine scrapes, and the longest.
fn scrapes(get: impl Fn() -> (u16, String)) -> (Duration, Duration) {
    let mut took: Vec<_> = (0..9).map(|_| scrape(&get)).collect();
    took.sort();
    (took[4], took[8])
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("connected");
    // A small window.
    sockopt::set_socket_recv_buffer_size(&stream, 4096).expect("set");
    stream
}

/// What a client sends before it stops reading.
type SlowClient = fn(&mut TcpStream);

#[test]
fn slow_clients_do_not_delay_a_scrape() {
    raise_limit();
    let kinds: [(&str, SlowClient); 5] = [
        ("sends nothing", |_| {}),
        ("half a head", |stream| _ = stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\nX-")),
        ("reads no response", |stream| _ = stream.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("streams", |stream| _ = stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("half a body", |stream| {
            _ = stream.write_all(b"POST /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc");
        }),
    ];
    let server = TestServer::start(None);
    for (kind, send) in kinds {
        let get = || {
            let (status, _, body) = server.get("/large");
            (status, body)
        };
        let usual = scrapes(get);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(server.address)).collect();
        clients.iter_mut().for_each(send);
        compare(kind, usual, scrapes(get));
        assert_eq!(server.get("/healthz").0, 200, "{kind}");
        drop(clients);
    }
}

#[test]
fn half_handshakes_do_not_delay_a_scrape() {
    raise_limit();
    let secured = SecureServer::start(TLS);
    let client = secured.client(None);
    let get = || secured.get(&client, "/large", "").expect("TLS");
    let usual = scrapes(get);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(secured.server.address)).collect();
    clients.iter_mut().for_each(|stream| _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]));
    compare("half a handshake", usual, scrapes(get));
}

fn compare(kind: &str, usual: (Duration, Duration), loaded: (Duration, Duration)) {
    eprintln!("{kind}: {loaded:?} with {CLIENTS} clients, {usual:?} alone");
    assert!(loaded.0 < usual.0 * 2 + Duration::from_millis(100), "{kind}: {loaded:?}, usually {usual:?}");
}

/// A client that has shown the right password is served as usual meanwhile.
#[test]
fn wrong_passwords_do_not_delay_a_scrape() {
    raise_limit();
    let costly = bcrypt::hash("secret", 6).expect("hashed");
    let secured = SecureServer::start(&format!("basic_auth_users:\n  alice: {costly}\n"));
    let right = basic("alice", "secret");
    let get = || {
        let (status, _, body) = secured.server.get_with("/large", &right);
        (status, body)
    };
    scrape(get);
    let usual = scrapes(get);
    let mut attackers: Vec<_> = (0..CLIENTS).map(|_| connect(secured.server.address)).collect();
    for (n, stream) in attackers.iter_mut().enumerate() {
        let user = if n % 2 == 0 { "alice" } else { "mallory" };
        _ = write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", basic(user, &n.to_string()));
    }
    compare("wrong passwords", usual, scrapes(get));
    let results = attackers.into_iter().map(|mut stream| {
        let mut text = String::new();
        // Empty, or a reset, if the connection was evicted.
        stream.read_to_string(&mut text).ok().filter(|read| *read > 0).map(|_| status(&text))
    });
    let results: Vec<_> = results.collect();
    let count = |expected| results.iter().filter(|it| **it == expected).count();
    let (wrong, busy, evicted) = (count(Some(401)), count(Some(429)), count(None));
    eprintln!("{wrong} checked, {busy} refused unchecked, {evicted} evicted");
    assert_eq!(wrong + busy + evicted, results.len(), "{results:?}");
    assert!(wrong > 0 && busy > 0, "{wrong} {busy} {evicted}");
}

/// How long it takes until the server closes the connection.
fn until_cut(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
    let mut rest = Vec::new();
    // By a reset too, but not by our own timeout.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    began.elapsed()
}

#[test]
fn slow_clients_are_cut_off_in_time() {
    let secured = SecureServer::start(TLS);
    let plain = TestServer::start(None);
    let cases: [(&str, SocketAddr, &[u8]); 5] = [
        ("no handshake", secured.server.address, b""),
        ("half a handshake", secured.server.address, &[0x16, 3, 1, 2, 0, 1, 0]),
        ("no head", plain.address, b""),
        ("half a head", plain.address, b"GET / HTTP/1.1\r\nHost: localhost\r\n"),
        ("no response is read", plain.address, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ];
    std::thread::scope(|scope| {
        for (what, at, sent) in cases {
            scope.spawn(move || {
                let mut stream = connect(at);
                let began = Instant::now();
                stream.write_all(sent).expect("sent");
                if what == "no response is read" {
                    // Reads nothing until the write timeout must have expired.
                    std::thread::sleep(Duration::from_secs(13));
                    assert!(until_cut(&mut stream) < Duration::from_secs(2), "{what}");
                    return;
                }
                // Sending a head byte by byte does not extend the time limit.
                while what == "half a head" && began.elapsed() < Duration::from_secs(8) {
                    stream.write_all(b"X").expect("sent");
                    std::thread::sleep(Duration::from_millis(200));
                }
                until_cut(&mut stream);
                let took = began.elapsed();
                assert!((8..14).contains(&took.as_secs()), "{what}: {took:?}");
            });
        }
    });
}
