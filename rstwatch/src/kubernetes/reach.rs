//! What has to stay within reach once rights are given up, so that the API can be asked.

use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;

use super::client::Source;
use crate::privileges::{Needs, paths};

/// What Kubernetes mounts into each pod; the token there is replaced while we run.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Of HTTPS, where a URL names no port.
const HTTPS: u16 = 443;

impl Source {
    /// Files that are read, and ports that are connected to. A kubeconfig that cannot be read needs nothing: it is read again
    /// later, and the error is told there. One that changes its port later needs a restart.
    pub fn needs(&self, environment: impl Fn(&str) -> Option<String>) -> Needs {
        match self {
            Self::InCluster => Needs {
                read: vec![SERVICE_ACCOUNT.into()],
                connect: vec![
                    environment("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok()).unwrap_or(HTTPS),
                ],
            },
            Self::Kubeconfig(path) => of_kubeconfig(path),
        }
    }
}

fn of_kubeconfig(path: &Path) -> Needs {
    let file = Kubeconfig::read_from(path).unwrap_or_default();
    let clusters = || file.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let users = || file.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let authorities = clusters().filter_map(|cluster| cluster.certificate_authority.clone());
    let credentials = users()
        .flat_map(|user| [user.client_certificate.clone(), user.client_key.clone(), user.token_file.clone()])
        .flatten();
    let files = authorities.chain(credentials).map(PathBuf::from).chain([path.to_owned()]);
    let servers = clusters().filter_map(|cluster| cluster.server.as_deref());
    Needs {
        read: files.flat_map(|file| paths::of_file(&file)).collect(),
        // Where no server is named, kube would say so; a port keeps sockets from being refused altogether before that.
        connect: servers.map(port).chain([HTTPS]).collect(),
    }
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
    fn a_pod_needs_its_account_and_the_services_port() {
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
    fn a_kubeconfig_needs_what_it_names() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("config");
        let text = "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {server: 'https://k:6443', \
                    certificate-authority: /pki/ca.crt}\nusers:\n- name: u\n  user: {tokenFile: /keys/token}\n";
        std::fs::write(&file, text).expect("written");
        let needs = Source::Kubeconfig(file).needs(|_| None);
        assert_eq!(needs.connect, [6443, 443]);
        for folder in [Path::new("/pki"), Path::new("/keys"), folder.path()] {
            assert!(needs.read.iter().any(|path| path == folder), "{folder:?} in {needs:?}");
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
