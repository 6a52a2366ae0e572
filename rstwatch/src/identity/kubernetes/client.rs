//! Builds a client of the API from the environment or a kubeconfig file, which it reads again for each client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::failure::{Failure, Kind};
use super::limits::LimitLayer;

/// Longest time to connect (TCP and TLS).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the address and the credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The environment and files that Kubernetes provides to each pod; kube re-reads the token and the CA every minute.
    InCluster,
    /// A kubeconfig file.
    Kubeconfig(PathBuf),
}

impl Source {
    /// Builds a client whose responses are limited.
    ///
    /// # Errors
    /// If the configuration cannot be read or used.
    pub async fn client(&self, limits: &LimitLayer) -> Result<Client, Failure> {
        // Fails if a provider is installed already, which is then the same one.
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = match self {
            Self::InCluster => Config::incluster().map_err(|error| Failure::new(Kind::Other, &error))?,
            Self::Kubeconfig(path) => kubeconfig(path).await?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        if config.cluster_url.scheme_str() == Some("http") {
            // Otherwise kube reads the host's certificate authorities and fails if there are none.
            config.root_cert = Some(Vec::new());
        }
        // Errors must reach this crate, which counts them and backs off.
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config).map_err(|error| Failure::new(Kind::Other, &error))?;
        Ok(builder.with_layer(limits).build())
    }
}

async fn kubeconfig(path: &Path) -> Result<Config, Failure> {
    let failure =
        |error: &dyn std::fmt::Display| Failure::with_message(Kind::Other, &format!("{}: {error}", path.display()));
    let file = Kubeconfig::read_from(path).map_err(|error| failure(&error))?;
    let runs = |user: &kube::config::NamedAuthInfo| {
        user.auth_info.as_ref().is_some_and(|auth| auth.exec.is_some() || auth.auth_provider.is_some())
    };
    if file.auth_infos.iter().any(runs) {
        return Err(failure(
            &"a user's credentials come from a program, which rstwatch does not run: use a token or a client certificate",
        ));
    }
    let proxied = file.clusters.iter().filter_map(|named| named.cluster.as_ref()).any(|it| it.proxy_url.is_some());
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| failure(&error))?;
    // Ignore the proxy of the environment: only the kubeconfig decides how its cluster is reached.
    config.proxy_url = config.proxy_url.filter(|_| proxied);
    Ok(config)
}
