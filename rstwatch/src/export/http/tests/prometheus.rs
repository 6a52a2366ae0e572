//! A real Prometheus scrapes, with a certificate and a password, and keeps scraping while both change.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Stdio};

use super::*;

/// A Prometheus in its folder; ends with the test.
struct Prometheus(Child, SocketAddr);

impl Drop for Prometheus {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Prometheus {
    /// None where it is not installed.
    fn start(folder: &Path, config: &str) -> Option<Self> {
        fs::write(folder.join("prometheus.yml"), config).expect("written");
        // Whoever takes the port meanwhile makes the test fail, not pass.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let at = free.expect("a port");
        let child = Command::new("prometheus")
            .current_dir(folder)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", &format!("--web.listen-address={at}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).expect("a log"))
            .spawn();
        match child {
            Ok(child) => Some(Self(child, at)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Past the test harness, which would swallow it.
                _ = writeln!(std::io::stderr(), "skipped: prometheus not installed");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What it answers; nothing before it listens.
    fn ask(&self, path: &str) -> String {
        let answer = TcpStream::connect(self.1).and_then(|mut stream| {
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        answer.unwrap_or_default()
    }

    /// Waits until a query has this value.
    fn wait(&self, query: &str, value: &str) {
        let (began, ends) = (Instant::now(), format!(",\"{value}\"]}}"));
        loop {
            let answer = self.ask(&format!("/api/v1/query?query={query}"));
            if answer.contains(&ends) {
                return;
            }
            let targets = self.ask("/api/v1/targets");
            assert!(began.elapsed() < Duration::from_secs(60), "{query} is not {value}: {answer}\n{targets}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn prometheus_scrapes_with_a_certificate_and_a_password() {
    let demands = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [prometheus]\n";
    let users = |password: &str| format!("basic_auth_users:\n  alice: {}\n", hash(password));
    let secured = Secured::start(&format!("{PAIR}{demands}{}", users("secret")));
    secured.served.record(rstwatch_verdict::testing::sample::idle_reaped());
    let folder = secured.folder.path();
    let (cert, key) = secured.authority.sign(vec![dns("prometheus")]);
    for (name, text) in [("client.crt", cert), ("client.key", key), ("password", "secret".to_owned())] {
        fs::write(folder.join(name), text).expect("written");
    }
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n- job_name: rstwatch\n  scheme: https\n  \
         tls_config: {{ ca_file: ca.crt, cert_file: client.crt, key_file: client.key, server_name: localhost }}\n  \
         basic_auth: {{ username: alice, password_file: password }}\n  static_configs: [{{ targets: ['{}'] }}]\n",
        secured.served.address
    );
    let Some(prometheus) = Prometheus::start(folder, &config) else { return };
    prometheus.wait("up", "1");
    prometheus.wait("rstwatch_resets_total{cause=\"idle_reaped\"}", "1");

    // The password changes here first, then there.
    fs::write(folder.join("web.yml"), format!("{PAIR}{demands}{}", users("new"))).expect("written");
    prometheus.wait("up", "0");
    assert!(prometheus.ask("/api/v1/targets").contains("401"), "{}", prometheus.ask("/api/v1/targets"));
    fs::write(folder.join("password"), "new").expect("written");
    prometheus.wait("up", "1");

    // Both ends take up an authority that signs all anew.
    let renewed = Authority::new("renewed");
    write_pair(folder, &renewed);
    prometheus.wait("up", "0");
    let (cert, key) = renewed.sign(vec![dns("prometheus")]);
    for (name, text) in [("client.crt", cert), ("client.key", key), ("ca.crt", renewed.pem)] {
        fs::write(folder.join(name), text).expect("written");
    }
    prometheus.wait("up", "1");
    prometheus.wait("rstwatch_web_config_last_reload_successful", "1");
}
