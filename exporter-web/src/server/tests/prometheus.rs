//! A real Prometheus scrapes with a certificate and a password, also after both have changed.

use std::io::ErrorKind;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpSocket;

use super::*;

/// A Prometheus that runs in a folder, killed with the test.
struct Prometheus {
    child: Child,
    at: SocketAddr,
    /// Bound but not listening: it keeps the kernel from assigning the port to other sockets, but Prometheus can still bind it.
    _port: TcpSocket,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts it; none if it is not installed.
    fn start(folder: &Path, config: &str) -> Option<Self> {
        fs::write(folder.join("prometheus.yml"), config).expect("written");
        let port = TcpSocket::new_v4().expect("a socket");
        port.set_reuseaddr(true).expect("set");
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        let at = port.local_addr().expect("an address");
        let child = Command::new("prometheus")
            .current_dir(folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", &format!("--web.listen-address={at}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).expect("a log"))
            .spawn();
        match child {
            Ok(child) => Some(Self { child, at, _port: port }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                report_skipped("prometheus");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The response to a request; empty before it listens.
    fn get(&self, path: &str) -> String {
        let response = TcpStream::connect(self.at).and_then(|mut stream| {
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        response.unwrap_or_default()
    }

    /// Waits until a query has this value.
    fn wait_for(&self, query: &str, value: &str) {
        let (began, ends) = (Instant::now(), format!(",\"{value}\"]}}"));
        loop {
            let response = self.get(&format!("/api/v1/query?query={query}"));
            if response.contains(&ends) {
                return;
            }
            let targets = self.get("/api/v1/targets");
            assert!(began.elapsed() < Duration::from_secs(60), "{query} is not {value}: {response}\n{targets}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn prometheus_scrapes_with_a_certificate_and_a_password() {
    let client_auth = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [prometheus]\n";
    let users = |password: &str| format!("basic_auth_users:\n  alice: {}\n", bcrypt_hash(password));
    let secured = SecureServer::start(&format!("{TLS}{client_auth}{}", users("secret")));
    let folder = secured.folder.path();
    let (cert, key) = secured.authority.sign(vec![dns("prometheus")]);
    for (name, text) in [("client.crt", cert), ("client.key", key), ("password", "secret".to_owned())] {
        fs::write(folder.join(name), text).expect("written");
    }
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n- job_name: test\n  scheme: https\n  \
         tls_config: {{ ca_file: ca.crt, cert_file: client.crt, key_file: client.key, server_name: localhost }}\n  \
         basic_auth: {{ username: alice, password_file: password }}\n  static_configs: [{{ targets: ['{}'] }}]\n",
        secured.server.address
    );
    let Some(prometheus) = Prometheus::start(folder, &config) else { return };
    prometheus.wait_for("up", "1");
    prometheus.wait_for("test_config_up_to_date", "1");

    // The password changes on the server first, then in Prometheus.
    fs::write(folder.join("web.yml"), format!("{TLS}{client_auth}{}", users("new"))).expect("written");
    prometheus.wait_for("up", "0");
    assert!(prometheus.get("/api/v1/targets").contains("401"), "{}", prometheus.get("/api/v1/targets"));
    fs::write(folder.join("password"), "new").expect("written");
    prometheus.wait_for("up", "1");

    // Both sides change to another authority.
    let renewed = Authority::new("renewed");
    write_certificate(folder, &renewed);
    prometheus.wait_for("up", "0");
    let (cert, key) = renewed.sign(vec![dns("prometheus")]);
    for (name, text) in [("client.crt", cert), ("client.key", key), ("ca.crt", renewed.pem)] {
        fs::write(folder.join(name), text).expect("written");
    }
    prometheus.wait_for("up", "1");
    prometheus.wait_for("test_config_up_to_date", "1");
}
