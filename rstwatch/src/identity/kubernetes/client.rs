//! Builds Kubernetes API clients from the pod's environment or a kubeconfig file. Each new client re-reads its source.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::failure::{Failure, Kind};
use super::limits::LimitLayer;

/// Timeout for connecting (TCP and TLS).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the API server's address and the credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The environment variables and files that Kubernetes provides to each pod; kube re-reads the token and the CA every minute.
    InCluster,
    /// A kubeconfig file.
    Kubeconfig(PathBuf),
}

impl Source {
    /// Builds a client that applies `limits` to every response.
    ///
    /// # Errors
    /// If the configuration cannot be read or used.
    pub async fn client(&self, limits: &LimitLayer) -> Result<Client, Failure> {
        // Fails if a provider is already installed. It is the same one, so the error can be ignored.
        _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = match self {
            Self::InCluster => Config::incluster().map_err(|error| Failure::new(Kind::Other, &error))?,
            Self::Kubeconfig(path) => kubeconfig(path).await?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        if config.cluster_url.scheme_str() == Some("http") {
            // Without this, kube loads the host's CA certificates even for plain HTTP, and fails if there are none.
            config.root_cert = Some(Vec::new());
        }
        // Errors must reach the caller, which counts them and backs off.
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config).map_err(|error| Failure::new(Kind::Other, &error))?;
        Ok(builder.with_layer(limits).build())
    }
}

async fn kubeconfig(path: &Path) -> Result<Config, Failure> {
    let failure =
        |error: &dyn std::fmt::Display| Failure::with_message(Kind::Other, &format!("{}: {error}", path.display()));
    let file = Kubeconfig::read_from(path).map_err(|error| failure(&error))?;
    let runs_program = |user: &kube::config::NamedAuthInfo| {
        user.auth_info.as_ref().is_some_and(|auth| auth.exec.is_some() || auth.auth_provider.is_some())
    };
    if file.auth_infos.iter().any(runs_program) {
        return Err(failure(
            &"a user's credentials come from a program, which rstwatch does not run: use a token or a client certificate",
        ));
    }
    let has_proxy = file.clusters.iter().filter_map(|named| named.cluster.as_ref()).any(|it| it.proxy_url.is_some());
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| failure(&error))?;
    // Ignore proxy settings from the environment: only the kubeconfig decides how its cluster is reached.
    config.proxy_url = config.proxy_url.filter(|_| has_proxy);
    Ok(config)
}
