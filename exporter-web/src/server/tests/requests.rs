//! Unusual and malformed requests.

use super::*;

/// Sends bytes on a new connection, and returns everything that it receives.
fn exchange(at: SocketAddr, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    // The response may come before everything is sent.
    _ = stream.write_all(sent);
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("a response");
    String::from_utf8(got).expect("text")
}

#[test]
fn malformed_requests_get_responses() {
    let server = TestServer::start(None);
    let head = |more: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let cases = [
        (get("/healthz"), Some(200)),
        ("GET /healthz HTTP/1.0\r\n\r\n".into(), Some(200)),
        ("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), Some(200)),
        ("HEAD /events HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), Some(200)),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc".into(), Some(405)),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), Some(405)),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), Some(404)),
        ("CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), Some(404)),
        ("BREW /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), Some(405)),
        (get("http://localhost/healthz"), Some(200)),
        (get("http://evil.example/healthz"), Some(403)),
        (get("/%00%2e%2e/%2e%2e/etc/passwd"), Some(404)),
        (get(&format!("/{}", "a".repeat(8_000))), Some(404)),
        (get(&format!("/{}", "a".repeat(20_000))), Some(431)),
        (get(&format!("/query?limit={}", "9".repeat(4_000))), Some(400)),
        (head(&many(90)), Some(200)),
        (head(&many(200)), Some(431)),
        (head(&format!("X: {}\r\n", "y".repeat(20_000))), Some(431)),
        (head("Content-Length: 5\r\n\r\nabcde"), Some(200)),
        (head("Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n"), Some(200)),
        (head("Content-Length: 5\r\nContent-Length: 6\r\n"), Some(400)),
        (head("Expect: 100-continue\r\nContent-Length: 1000000\r\n"), Some(200)),
        (head("Content-Length: 200000\r\n") + &"b".repeat(200_000), Some(200)),
        ("GET /healthz HTTP/1.1\r\n\r\n".into(), Some(200)),
        ("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), Some(403)),
        ("GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n".into(), Some(400)),
        ("\0\x01\x02\x03\r\n\r\n".into(), Some(400)),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{7f}\r\n\r\n".into(), Some(400)),
    ];
    for (sent, expected) in cases {
        let text = exchange(server.address, sent.as_bytes());
        let shown: String = sent.chars().take(100).collect();
        assert_eq!((!text.is_empty()).then(|| status(&text)), expected, "{shown:?}: {text:?}");
        assert_eq!(
            text.matches("HTTP/1.").count(),
            usize::from(expected.is_some()),
            "one response, and no 100: {text}"
        );
    }
    // One request per connection: a pipelined one is not answered.
    let text = exchange(server.address, (get("/healthz") + &get("/healthz")).as_bytes());
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
}

/// DNS rebinding: a foreign site's name can be made to resolve to this host.
#[test]
fn foreign_host_names_are_refused_on_loopback() {
    let server = TestServer::start(None);
    let ask =
        |host: &str| status(&exchange(server.address, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()));
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for host in [
        "localhost",
        "LOCALHOST:9100",
        "localhost.",
        "127.0.0.1:9100",
        "[::1]:9100",
        "10.1.2.3",
        "a.localhost:1",
        "node",
        &own,
    ] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9100",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "a:b:c",
        "[::1",
        "@localhost/x",
    ] {
        assert_eq!(ask(host), 403, "{host}");
    }
    // With passwords any Host is accepted: they keep foreign pages out, and the server may be behind a proxy with another name.
    let secured = SecureServer::start(&format!("basic_auth_users:\n  alice: {}\n", bcrypt_hash("secret")));
    let request = format!("GET / HTTP/1.1\r\nHost: evil.example\r\n{}\r\n", basic("alice", "secret"));
    assert_eq!(status(&exchange(secured.server.address, request.as_bytes())), 200);
}
