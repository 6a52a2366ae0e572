//! Files and ports that must stay accessible after the lockdown so that the API can be watched.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;

use super::client::Source;
use crate::sandbox::Needs;

/// Mounted into each pod by Kubernetes, which replaces the token at run time.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Directories of the host's trusted certificate authorities.
const AUTHORITIES: [&str; 4] =
    ["/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"];
/// The default port of HTTPS.
const HTTPS: u16 = 443;

impl Source {
    /// The files read and the ports connected to. A kubeconfig that cannot be read needs nothing: it is read again later, and
    /// the error is logged then. If its port changes later, a restart is needed.
    pub fn needs(&self, environment: impl Fn(&str) -> Option<String>) -> Needs {
        match self {
            Self::InCluster => Needs {
                read: vec![SERVICE_ACCOUNT.into()],
                files: ["token", "ca.crt"].map(|name| Path::new(SERVICE_ACCOUNT).join(name)).into(),
                names: environment("KUBERNETES_SERVICE_HOST").is_some_and(|host| !is_address(&host)),
                connect: vec![
                    environment("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok()).unwrap_or(HTTPS),
                ],
            },
            Self::Kubeconfig(path) => kubeconfig_needs(path),
        }
    }
}

fn kubeconfig_needs(path: &Path) -> Needs {
    let file = Kubeconfig::read_from(path).unwrap_or_default();
    let clusters = || file.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let users = || file.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let authorities = clusters().filter_map(|cluster| cluster.certificate_authority.clone());
    let credentials = users()
        .flat_map(|user| [user.client_certificate.clone(), user.client_key.clone(), user.token_file.clone()])
        .flatten();
    // Clusters without an authority of their own use the host's.
    let of_host = clusters()
        .any(|cluster| cluster.certificate_authority.is_none() && cluster.certificate_authority_data.is_none());
    let files = authorities.chain(credentials).map(PathBuf::from).chain([path.to_owned()]);
    let servers = || clusters().filter_map(|cluster| cluster.server.as_deref());
    let mut needs = Needs {
        read: if of_host { AUTHORITIES.map(PathBuf::from).into() } else { Vec::new() },
        files: Vec::new(),
        names: servers().next().is_none() || servers().any(|url| !host(url).is_some_and(|host| is_address(&host))),
        // A kubeconfig without a server is reported by kube. Always allow one port, so that the sandbox does not refuse all
        // sockets before that.
        connect: servers().map(port).chain([HTTPS]).collect(),
    };
    needs.add_files(files.collect());
    needs
}

/// The host of a URL.
fn host(url: &str) -> Option<String> {
    url.parse::<axum::http::Uri>().ok()?.host().map(str::to_owned)
}

fn is_address(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// The port of a URL.
fn port(url: &str) -> u16 {
    let parsed = url.parse::<axum::http::Uri>().ok();
    let plain = parsed.as_ref().is_some_and(|uri| uri.scheme_str() == Some("http"));
    parsed.and_then(|uri| uri.port_u16()).unwrap_or(if plain { 80 } else { HTTPS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_needs_its_service_account_and_the_services_port() {
        let port = |value: Option<&str>| {
            let needs = Source::InCluster.needs(|name| value.filter(|_| name.ends_with("_PORT")).map(str::to_owned));
            assert_eq!(needs.read, [PathBuf::from(SERVICE_ACCOUNT)]);
            needs.connect
        };
        assert_eq!(port(Some("6443")), [6443]);
        assert_eq!(port(Some("nonsense")), [443]);
        assert_eq!(port(None), [443]);
    }

    #[test]
    fn a_host_name_needs_name_resolution() {
        for (host, names) in
            [(Some("10.96.0.1"), false), (Some("fd00::1"), false), (Some("api.example"), true), (None, false)]
        {
            let needs = Source::InCluster.needs(|name| host.filter(|_| name.ends_with("_HOST")).map(str::to_owned));
            assert_eq!(needs.names, names, "{host:?}");
        }
    }

    #[test]
    fn a_kubeconfig_needs_the_files_it_names() {
        let root = tempfile::tempdir().expect("folder");
        let root = root.path().canonicalize().expect("a path");
        for folder in ["pki", "keys"] {
            std::fs::create_dir(root.join(folder)).expect("made");
        }
        let file = root.join("config");
        for (server, authority, names) in [
            ("https://k:6443", "certificate-authority: pki/ca.crt", true),
            ("https://10.0.0.1:6443", "certificate-authority: pki/ca.crt", false),
            ("https://[fd00::1]:6443", "certificate-authority: pki/ca.crt", false),
            ("https://10.0.0.1:6443", "tls-server-name: k", false),
        ] {
            let text = format!(
                "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{server: '{server}', {authority}}}\n\
                 users:\n- name: u\n  user: {{tokenFile: {}/keys/token}}\n",
                root.display()
            );
            std::fs::write(&file, text).expect("written");
            let needs = Source::Kubeconfig(file.clone()).needs(|_| None);
            assert_eq!((needs.connect.as_slice(), needs.names), (&[6443, 443][..], names), "{server}");
            let has = |path: &Path| needs.read.iter().any(|read| read == path);
            assert!(has(&root) && has(&root.join("keys")), "{needs:?}");
            assert_eq!(has(&root.join("pki")), authority.ends_with("ca.crt"), "{needs:?}");
            assert_eq!(has(Path::new("/etc/ssl")), !authority.ends_with("ca.crt"), "{needs:?}");
            assert!(needs.files.contains(&file) && needs.files.contains(&root.join("keys/token")), "{needs:?}");
        }
    }

    #[test]
    fn ports_of_urls() {
        let cases =
            [("https://a:1", 1), ("https://a", 443), ("http://a/x", 80), ("http://[::1]:8001", 8001), ("?", 443)];
        for (url, expected) in cases {
            assert_eq!(port(url), expected, "{url}");
        }
    }
}
