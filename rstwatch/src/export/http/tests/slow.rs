//! A thousand slow clients of each kind, and a scrape among them.

use super::*;
use rstwatch_verdict::event::WorkloadKind;
use rstwatch_verdict::testing::sample;

const CLIENTS: u64 = 1_000;

/// Room for the clients' sockets and for the server's.
fn raise_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("raised");
}

/// A state whose metrics are too long for a socket's buffers.
fn fill(served: &Served) {
    served.aggregate.set_workload_limit(100_000);
    for n in 0..2_500 {
        let mut event = sample::idle_reaped();
        event.workload = Some(sample::workload(WorkloadKind::Pod, &format!("namespace-{n}"), &"w".repeat(200)));
        served.aggregate.record(&event);
    }
}

/// How long a scrape takes; it must have its end.
fn scrape(get: impl Fn() -> (u16, String)) -> Duration {
    let began = Instant::now();
    let (status, text) = get();
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("rstwatch_build_info"), "cut off after {} bytes", text.len());
    began.elapsed()
}

/// The median of some scrapes, and the slowest.
fn scrapes(get: impl Fn() -> (u16, String)) -> (Duration, Duration) {
    let mut took: Vec<_> = (0..9).map(|_| scrape(&get)).collect();
    took.sort();
    (took[4], took[8])
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("connected");
    // Takes little at once.
    sockopt::set_socket_recv_buffer_size(&stream, 4096).expect("set");
    stream
}

type Dawdle = fn(&mut TcpStream);

#[test]
fn a_scrape_comes_through_a_thousand_slow_clients() {
    raise_limit();
    let kinds: [(&str, Dawdle); 5] = [
        ("says nothing", |_| {}),
        ("half a head", |stream| _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-")),
        ("takes no answer", |stream| _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("follows", |stream| _ = stream.write_all(b"GET /api/v1/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")),
        ("half a body", |stream| {
            _ = stream.write_all(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc");
        }),
    ];
    let served = Served::start(vec![]);
    fill(&served);
    for (kind, dawdle) in kinds {
        let get = || {
            let (status, _, body) = served.get("/metrics");
            (status, body)
        };
        let usual = scrapes(get);
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(served.address)).collect();
        clients.iter_mut().for_each(dawdle);
        compare(kind, usual, scrapes(get));
        assert_eq!(served.get("/healthz").0, 200, "{kind}");
        drop(clients);
    }
}

#[test]
fn a_scrape_comes_through_a_thousand_half_handshakes() {
    raise_limit();
    let secured = Secured::start(PAIR);
    let client = secured.client(None);
    let get = || secured.get(&client, "/metrics", "").expect("TLS");
    let usual = scrapes(get);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(secured.served.address)).collect();
    clients.iter_mut().for_each(|stream| _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]));
    compare("half a handshake", usual, scrapes(get));
}

fn compare(kind: &str, usual: (Duration, Duration), among: (Duration, Duration)) {
    eprintln!("{kind}: {among:?} among {CLIENTS} clients, {usual:?} alone");
    assert!(among.0 < usual.0 * 2 + Duration::from_millis(100), "{kind}: {among:?}, usually {usual:?}");
}

/// Many wrong passwords at once: whoever has shown the right one is served as usual.
#[test]
fn a_thousand_wrong_passwords_stall_nobody() {
    raise_limit();
    let costly = bcrypt::hash("secret", 6).expect("hashed");
    let secured = Secured::start(&format!("basic_auth_users:\n  alice: {costly}\n"));
    let right = basic("alice", "secret");
    let get = || {
        let (status, _, body) = secured.served.get_with("/metrics", &right);
        (status, body)
    };
    scrape(get);
    let usual = scrapes(get);
    let mut attackers: Vec<_> = (0..CLIENTS).map(|_| connect(secured.served.address)).collect();
    for (n, stream) in attackers.iter_mut().enumerate() {
        let user = if n % 2 == 0 { "alice" } else { "nobody" };
        _ = write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", basic(user, &n.to_string()));
    }
    compare("wrong passwords", usual, scrapes(get));
    let answers = attackers.into_iter().map(|mut stream| {
        let mut text = String::new();
        // Who was cut off has none.
        stream.read_to_string(&mut text).ok().filter(|read| *read > 0).map(|_| status(&text))
    });
    let answers: Vec<_> = answers.collect();
    let count = |expected| answers.iter().filter(|it| **it == expected).count();
    let (wrong, busy, cut) = (count(Some(401)), count(Some(429)), count(None));
    eprintln!("{wrong} were checked, {busy} refused unchecked, {cut} cut off");
    assert_eq!(wrong + busy + cut, answers.len(), "{answers:?}");
    assert!(wrong > 0 && busy > 0, "{wrong} {busy} {cut}");
}

/// How long it takes until the other end is gone.
fn until_cut(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
    let mut rest = Vec::new();
    // A reset is an end too, waiting in vain is none.
    let read = stream.read_to_end(&mut rest);
    assert!(read.is_ok_or_reset(), "{read:?}");
    began.elapsed()
}

/// What counts as an end.
trait Ended {
    fn is_ok_or_reset(&self) -> bool;
}

impl<T> Ended for std::io::Result<T> {
    fn is_ok_or_reset(&self) -> bool {
        self.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true)
    }
}

#[test]
fn who_dawdles_is_cut_off_in_time() {
    let secured = Secured::start(PAIR);
    let plain = Served::start(vec![]);
    fill(&plain);
    let cases: [(&str, SocketAddr, &[u8]); 5] = [
        ("no handshake", secured.served.address, b""),
        ("half a handshake", secured.served.address, &[0x16, 3, 1, 2, 0, 1, 0]),
        ("no head", plain.address, b""),
        ("half a head", plain.address, b"GET / HTTP/1.1\r\nHost: localhost\r\n"),
        ("no answer is taken", plain.address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ];
    std::thread::scope(|scope| {
        for (what, at, sent) in cases {
            scope.spawn(move || {
                let mut stream = connect(at);
                let began = Instant::now();
                stream.write_all(sent).expect("sent");
                if what == "no answer is taken" {
                    // Not a byte is read before it must be over.
                    std::thread::sleep(Duration::from_secs(13));
                    assert!(until_cut(&mut stream) < Duration::from_secs(2), "{what}");
                    return;
                }
                // A head that grows forever, byte by byte, is no exception.
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
