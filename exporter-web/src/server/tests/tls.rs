//! TLS, client certificates, passwords and headers, as configured.

use std::io::ErrorKind;
use std::process::Command;

use super::*;

#[test]
fn passwords_over_tls() {
    let secured = SecureServer::start(&format!("{TLS}basic_auth_users:\n  alice: {}\n", bcrypt_hash("secret")));
    let client = secured.client(None);
    let get = |path, headers: &str| secured.get(&client, path, headers).expect("TLS");
    let (status, text) = get("/metrics", "");
    assert_eq!(status, 401);
    assert!(text.to_lowercase().contains("www-authenticate: basic\r\n") && !text.contains("test_"), "{text}");
    for (path, headers, expected) in [
        ("/metrics", basic("alice", "secret"), 200),
        ("/metrics", basic("alice", "secret"), 200),
        ("/metrics", basic("alice", "Secret"), 401),
        ("/metrics", basic("alice", ""), 401),
        ("/metrics", basic("bob", "secret"), 401),
        ("/metrics", basic("", "fakepassword"), 401),
        ("/metrics", "Authorization: Basic ???\r\n".into(), 401),
        ("/metrics", "Authorization: Basic YWxpY2U=\r\n".into(), 401),
        ("/metrics", "Authorization: Bearer YWxpY2U6c2VjcmV0\r\n".into(), 401),
        ("/metrics", basic("alice", "secret").replace("Basic", "bAsIc"), 200),
        ("/", String::new(), 401),
        ("/events?limit=1", String::new(), 401),
        ("/large", String::new(), 401),
        ("/nowhere", String::new(), 401),
        ("/healthz", String::new(), 200),
        ("/healthz/", String::new(), 401),
        ("//healthz", String::new(), 401),
    ] {
        assert_eq!(get(path, &headers).0, expected, "{path} {headers}");
    }
    let (status, text) = get("/readyz", "");
    assert_eq!(status, 503);
    assert!(text.ends_with("not ready\n"), "no details without a password: {text}");
}

#[test]
fn curl_is_served() {
    let secured = SecureServer::start(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\nbasic_auth_users:\n  alice: {}\n",
        bcrypt_hash("secret")
    ));
    let (cert, key) = secured.authority.sign(vec![dns("scraper")]);
    let folder = secured.folder.path();
    fs::write(folder.join("client.crt"), cert).expect("written");
    fs::write(folder.join("client.key"), key).expect("written");
    let curl = |args: &[&str]| {
        let url = format!("https://localhost:{}/metrics", secured.server.address.port());
        let mut curl = Command::new("curl");
        curl.current_dir(folder).args(["-sS", "--max-time", "20", "--noproxy", "*", "-4", "--cacert", "ca.crt"]);
        curl.args(args).arg(url).output()
    };
    let credentials = ["--cert", "client.crt", "--key", "client.key", "-u", "alice:secret"];
    let output = match curl(&credentials) {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return report_skipped("curl");
        }
        Err(error) => panic!("{error}"),
    };
    let body = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && body == "test_config_up_to_date 1\n", "{output:?}");
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let output = curl(&[&credentials[..], &[version, "-I", "--http2"]].concat()).expect("curl");
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("HTTP/1.1 200 "), "{output:?}");
    }
    assert!(!curl(&["-u", "alice:secret"]).expect("curl").status.success(), "without a certificate");
}

#[test]
fn client_certificates_are_verified_as_configured() {
    // The right name, another name, another authority, no certificate.
    for (auth_type, expected) in [
        ("NoClientCert", [true, true, true, true]),
        ("RequestClientCert", [true, true, true, true]),
        ("RequireAnyClientCert", [true, true, true, false]),
        ("RequireAnyClientCert\n  client_allowed_sans: [spy, scraper]", [true, false, true, false]),
        ("VerifyClientCertIfGiven\n  client_ca_file: ca.crt", [true, true, false, true]),
        ("RequireAndVerifyClientCert\n  client_ca_file: ca.crt", [true, true, false, false]),
        (
            "RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [scraper]",
            [true, false, false, false],
        ),
    ] {
        for version in ["TLS12", "TLS13"] {
            let secured =
                SecureServer::start(&format!("{TLS}  max_version: {version}\n  client_auth_type: {auth_type}\n"));
            let certificates = [
                Some(secured.authority.sign(vec![dns("scraper")])),
                Some(secured.authority.sign(vec![dns("scraper.example")])),
                Some(Authority::new("other").sign(vec![dns("scraper")])),
                None,
            ];
            let served =
                certificates.map(|it| secured.get(&secured.client(it), "/metrics", "").is_ok_and(|got| got.0 == 200));
            assert_eq!(served, expected, "{auth_type} {version}");
        }
    }
}

#[test]
fn clients_without_tls_are_refused() {
    let secured = SecureServer::start(TLS);
    let exchange = |sent: &[u8]| {
        let mut stream = TcpStream::connect(secured.server.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.write_all(sent).expect("sent");
        let mut got = Vec::new();
        // Ends by a reset too.
        _ = stream.read_to_end(&mut got);
        got
    };
    let got = exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = String::from_utf8_lossy(&got);
    assert!(
        text.starts_with("HTTP/1.0 400 ") && text.ends_with("Client sent an HTTP request to an HTTPS server.\n"),
        "{text}"
    );
    let garbage: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80).collect();
    assert!(exchange(&garbage).len() < 100, "an alert at most");
    assert!(exchange(&[0x16, 3, 1, 0xff, 0xff, 1]).len() < 100, "an alert at most");
    let client = secured.client(None);
    assert_eq!(secured.get(&client, "/metrics", "").expect("TLS").0, 200, "other clients are served");
}

#[test]
fn headers_and_rate_limit_are_applied() {
    let secured = SecureServer::start(
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: default-src 'none'\nrate_limit:\n  interval: 1h\n  burst: 2\n",
    );
    let server = &secured.server;
    for expected in [200, 200, 429, 429] {
        let (status, head, _) = server.get("/");
        assert_eq!(status, expected);
        assert!(head.contains("x-frame-options: deny"), "{head}");
        assert_eq!(head.matches("content-security-policy: default-src 'none'").count(), 1, "{head}");
        assert_eq!(head.matches("content-security-policy").count(), 1, "{head}");
    }
    assert_eq!(server.get("/healthz").0, 200, "probes are not limited");
}
