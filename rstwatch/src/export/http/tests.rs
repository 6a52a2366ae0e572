use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;

use super::*;
use crate::export::tests::{Service as Served, probe};
use crate::export::web_config::tests::{Authority, dns, hash};

mod prometheus;
mod requests;
mod slow;

/// A served web configuration, and who signed it.
pub(super) struct Secured {
    pub(super) folder: TempDir,
    pub(super) authority: Authority,
    pub(super) served: Served,
    pub(super) web: Arc<Web>,
}

const PAIR: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

impl Secured {
    pub(super) fn start(text: &str) -> Self {
        let (folder, authority) = (tempfile::tempdir().expect("folder"), Authority::new("ours"));
        write_pair(folder.path(), &authority);
        fs::write(folder.path().join("ca.crt"), &authority.pem).expect("written");
        let path = folder.path().join("web.yml");
        fs::write(&path, text).expect("written");
        let web = Web::open(&path).expect("taken");
        let served = Served::start_with(vec![probe("p", true, false, "EPERM")], Some(Arc::clone(&web)));
        Self { folder, authority, served, web }
    }

    /// A client that trusts our authority, with a certificate or without.
    fn client(&self, pair: Option<(String, String)>) -> Arc<ClientConfig> {
        client(&self.authority, pair)
    }

    /// Status, head and body, or why there is no TLS.
    fn get(&self, client: &Arc<ClientConfig>, path: &str, headers: &str) -> std::io::Result<(u16, String)> {
        let mut stream = secured(self.served.address, client)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok((status(&text), text))
    }
}

fn write_pair(folder: &Path, authority: &Authority) {
    let (cert, key) = authority.sign(vec![dns("localhost")]);
    fs::write(folder.join("server.crt"), cert).expect("written");
    fs::write(folder.join("server.key"), key).expect("written");
}

fn client(authority: &Authority, pair: Option<(String, String)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM")).expect("added");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    Arc::new(match pair {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![cert], key).expect("a pair")
        }
    })
}

fn secured(to: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("client"), stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn status(text: &str) -> u16 {
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {text:?}"))
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let encoded = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {encoded}\r\n")
}

#[test]
fn tls_and_passwords() {
    let secured = Secured::start(&format!("{PAIR}basic_auth_users:\n  alice: {}\n", hash("secret")));
    let client = secured.client(None);
    let get = |path, headers: &str| secured.get(&client, path, headers).expect("TLS");
    let (status, text) = get("/metrics", "");
    assert_eq!(status, 401);
    assert!(text.to_lowercase().contains("www-authenticate: basic\r\n") && !text.contains("rstwatch_"), "{text}");
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
        ("/api/v1/events?follow=1", String::new(), 401),
        ("/page/page.js", String::new(), 401),
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
    let secured = Secured::start(&format!(
        "{PAIR}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\nbasic_auth_users:\n  alice: {}\n",
        hash("secret")
    ));
    let (cert, key) = secured.authority.sign(vec![dns("scraper")]);
    let folder = secured.folder.path();
    fs::write(folder.join("client.crt"), cert).expect("written");
    fs::write(folder.join("client.key"), key).expect("written");
    let curl = |args: &[&str]| {
        let url = format!("https://localhost:{}/metrics", secured.served.address.port());
        let mut curl = Command::new("curl");
        curl.current_dir(folder).args(["-sS", "--max-time", "20", "--noproxy", "*", "-4", "--cacert", "ca.crt"]);
        curl.args(args).arg(url).output()
    };
    let pair = ["--cert", "client.crt", "--key", "client.key", "-u", "alice:secret"];
    let output = match curl(&pair) {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Past the test harness, which would swallow it.
            _ = writeln!(std::io::stderr(), "skipped: curl not installed");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let body = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && body.contains("rstwatch_events_total 0"), "{output:?}");
    assert!(body.contains("\nrstwatch_web_config_last_reload_successful 1\n"), "{body}");
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let output = curl(&[&pair[..], &[version, "-I", "--http2"]].concat()).expect("curl");
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("HTTP/1.1 200 "), "{output:?}");
    }
    assert!(!curl(&["-u", "alice:secret"]).expect("curl").status.success(), "without a certificate");
}

#[test]
fn clients_certificates_are_judged_as_is_asked() {
    // Right, another name, another's authority, none.
    for (policy, expected) in [
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
            let secured = Secured::start(&format!("{PAIR}  max_version: {version}\n  client_auth_type: {policy}\n"));
            let pairs = [
                Some(secured.authority.sign(vec![dns("scraper")])),
                Some(secured.authority.sign(vec![dns("scraper.example")])),
                Some(Authority::new("other").sign(vec![dns("scraper")])),
                None,
            ];
            let served =
                pairs.map(|pair| secured.get(&secured.client(pair), "/metrics", "").is_ok_and(|got| got.0 == 200));
            assert_eq!(served, expected, "{policy} {version}");
        }
    }
}

/// What the next connections find, until it is so.
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn certificates_and_users_change_without_a_restart() {
    let secured = Secured::start(&format!("{PAIR}basic_auth_users:\n  alice: {}\n", hash("old")));
    let path = secured.folder.path();
    let old = secured.client(None);
    assert_eq!(secured.get(&old, "/metrics", &basic("alice", "old")).expect("TLS").0, 200);

    let renewed = Authority::new("renewed");
    write_pair(path, &renewed);
    let new = client(&renewed, None);
    soon("the new certificate", || secured.get(&new, "/healthz", "").is_ok());
    assert!(secured.get(&old, "/healthz", "").is_err());

    // A file that is broken changes nothing.
    for broken in ["tls_server_config: [", "", &format!("{PAIR}basic_auth_users:\n  alice: new\n")] {
        fs::write(path.join("web.yml"), broken).expect("written");
        soon("the complaint", || {
            assert_eq!(secured.get(&new, "/metrics", &basic("alice", "old")).expect("TLS").0, 200);
            !secured.web.is_up_to_date()
        });
    }
    let (_, text) = secured.get(&new, "/metrics", &basic("alice", "old")).expect("TLS");
    assert!(text.contains("\nrstwatch_web_config_last_reload_successful 0\n"), "{text}");
    fs::write(path.join("web.yml"), format!("{PAIR}basic_auth_users:\n  alice: {}\n", hash("new"))).expect("written");
    soon("the new password", || secured.get(&new, "/metrics", &basic("alice", "new")).expect("TLS").0 == 200);
    assert_eq!(secured.get(&new, "/metrics", &basic("alice", "old")).expect("TLS").0, 401);
    assert!(secured.web.is_up_to_date());

    // Half a pair, as while somebody copies.
    let third = Authority::new("third");
    let (cert, key) = third.sign(vec![dns("localhost")]);
    fs::write(path.join("server.crt"), cert).expect("written");
    soon("the complaint", || {
        assert!(secured.get(&new, "/healthz", "").is_ok());
        !secured.web.is_up_to_date()
    });
    fs::write(path.join("server.key"), key).expect("written");
    let third = client(&third, None);
    soon("the third certificate", || secured.get(&third, "/healthz", "").is_ok());
    // SIGHUP reads at once.
    fs::write(path.join("web.yml"), format!("{PAIR}basic_auth_users: {{}}\n")).expect("written");
    secured.web.reload();
    assert_eq!(secured.get(&third, "/metrics", "").expect("TLS").0, 200);
}

/// As a kubelet does it: the files are links into `..data`, which is swapped as a whole.
#[test]
fn kubernetes_swaps_certificates() {
    let (folder, first, second) = (tempfile::tempdir().expect("folder"), Authority::new("1"), Authority::new("2"));
    let path = folder.path();
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, path.join(at)).expect("linked");
    for (name, authority) in [("..1", &first), ("..2", &second)] {
        fs::create_dir(path.join(name)).expect("made");
        write_pair(&path.join(name), authority);
        fs::write(path.join(name).join("web.yml"), PAIR).expect("written");
    }
    link("..1", "..data");
    ["server.crt", "server.key", "web.yml"].iter().for_each(|name| link(&format!("..data/{name}"), name));
    let web = Web::open(&path.join("web.yml")).expect("taken");
    let served = Served::start_with(vec![], Some(Arc::clone(&web)));
    let is_served = |authority| secured(served.address, &client(authority, None)).is_ok();
    assert!(is_served(&first) && !is_served(&second));
    link("..2", "..data_tmp");
    fs::rename(path.join("..data_tmp"), path.join("..data")).expect("swapped");
    fs::remove_dir_all(path.join("..1")).expect("removed");
    soon("the second certificate", || is_served(&second));
    assert!(!is_served(&first) && web.is_up_to_date());
}

#[test]
fn what_is_no_tls_is_told_so_or_cut_off() {
    let secured = Secured::start(PAIR);
    let exchange = |sent: &[u8]| {
        let mut stream = TcpStream::connect(secured.served.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.write_all(sent).expect("sent");
        let mut got = Vec::new();
        // A reset is an end too.
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
    assert_eq!(secured.get(&client, "/metrics", "").expect("TLS").0, 200, "all others are served");
}

#[test]
fn headers_and_rates_are_as_configured() {
    let secured = Secured::start(
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: default-src 'none'\nrate_limit:\n  interval: 1h\n  burst: 2\n",
    );
    let served = &secured.served;
    for expected in [200, 200, 429, 429] {
        let (status, head, _) = served.get("/metrics");
        assert_eq!(status, expected);
        assert!(head.contains("x-frame-options: deny"), "{head}");
        assert_eq!(head.matches("content-security-policy: default-src 'none'").count(), 1, "{head}");
        assert_eq!(head.matches("content-security-policy").count(), 1, "{head}");
    }
    assert_eq!(served.get("/healthz").0, 200, "a probe is never refused");
}
