//! A client of the API, of the files that say how: read anew for each client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::failure::{Failure, Kind};
use super::guard::Guard;

/// Until a connection stands (TCP and TLS).
const CONNECT: Duration = Duration::from_secs(10);

/// Where it is written how the API is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The environment and the files that Kubernetes gives to each pod; kube re-reads the token and the CA each minute.
    InCluster,
    /// A kubeconfig file.
    Kubeconfig(PathBuf),
}

impl Source {
    /// A client within bounds.
    ///
    /// # Errors
    /// If what is written cannot be used.
    pub async fn client(&self, guard: &Guard) -> Result<Client, Failure> {
        // Twice is no harm: whoever installed one installed this one.
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = match self {
            Self::InCluster => Config::incluster().map_err(|error| Failure::new(Kind::Other, &error))?,
            Self::Kubeconfig(path) => kubeconfig(path).await?,
        };
        config.connect_timeout = Some(CONNECT);
        if config.cluster_url.scheme_str() == Some("http") {
            // Else kube reads the host's authorities, and fails where there are none.
            config.root_cert = Some(Vec::new());
        }
        // Errors are to be seen and counted here.
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config).map_err(|error| Failure::new(Kind::Other, &error))?;
        Ok(builder.with_layer(guard).build())
    }
}

async fn kubeconfig(path: &Path) -> Result<Config, Failure> {
    let failure = |error: &dyn std::fmt::Display| Failure::said(Kind::Other, &format!("{}: {error}", path.display()));
    let file = Kubeconfig::read_from(path).map_err(|error| failure(&error))?;
    let runs = |user: &kube::config::NamedAuthInfo| {
        user.auth_info.as_ref().is_some_and(|auth| auth.exec.is_some() || auth.auth_provider.is_some())
    };
    if file.auth_infos.iter().any(runs) {
        return Err(failure(
            &"a user's credentials come from a program: give a token or a certificate, for none is run here",
        ));
    }
    let proxied = file.clusters.iter().filter_map(|named| named.cluster.as_ref()).any(|it| it.proxy_url.is_some());
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| failure(&error))?;
    // The environment's proxy is for others: a cluster is reached as its file says.
    config.proxy_url = config.proxy_url.filter(|_| proxied);
    Ok(config)
}
