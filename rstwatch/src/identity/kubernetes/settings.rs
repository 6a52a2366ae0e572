//! The `[kubernetes]` table of the configuration, and the settings that it resolves to on this host.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::client::Source;

/// Maximum addresses with a name, unless configured otherwise.
pub const DEFAULT_REMOTE_LIMIT: usize = 50_000;
const REMOTE_LIMIT: std::ops::RangeInclusive<i64> = 1..=1_000_000;

/// The checked table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Whether to watch the API; `None`: if this is a pod, or a kubeconfig is configured.
    pub enabled: Option<bool>,
    /// This node's name in the API; `None`: the environment variable `NODE_NAME`, else the host name.
    pub node_name: Option<String>,
    /// Whether to name the remote ends of connections.
    pub remote: bool,
    /// Maximum addresses with a name.
    pub remote_limit: usize,
    /// The kubeconfig file; `None`: the service account of this pod.
    pub kubeconfig: Option<PathBuf>,
}

impl Default for Table {
    fn default() -> Self {
        Self { enabled: None, node_name: None, remote: false, remote_limit: DEFAULT_REMOTE_LIMIT, kubeconfig: None }
    }
}

/// The table as written, unchecked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    enabled: Option<Spanned<toml::Value>>,
    node_name: Option<Spanned<String>>,
    remote: Option<bool>,
    remote_limit: Option<Spanned<i64>>,
    kubeconfig: Option<Spanned<PathBuf>>,
}

/// Checks the table.
///
/// # Errors
/// The byte offset of the invalid value, and what is wrong with it.
pub fn checked(written: Option<Written>) -> Result<Table, (usize, String)> {
    let Some(Written { enabled, node_name, remote, remote_limit, kubeconfig }) = written else {
        return Ok(Table::default());
    };
    let default = Table::default();
    Ok(Table {
        enabled: enabled.map(|value| at(value, switch)).transpose()?.flatten(),
        node_name: node_name.map(|name| at(name, node)).transpose()?,
        remote: remote.unwrap_or(default.remote),
        remote_limit: remote_limit.map(|limit| at(limit, limit_of)).transpose()?.unwrap_or(default.remote_limit),
        kubeconfig: kubeconfig.map(|path| at(path, file)).transpose()?,
    })
}

fn at<T, U>(value: Spanned<T>, check: fn(T) -> Result<U, String>) -> Result<U, (usize, String)> {
    let start = value.span().start;
    check(value.into_inner()).map_err(|what| (start, what))
}

fn switch(value: toml::Value) -> Result<Option<bool>, String> {
    match value {
        toml::Value::Boolean(on) => Ok(Some(on)),
        toml::Value::String(word) if word == "auto" => Ok(None),
        _ => Err("kubernetes.enabled must be true, false or \"auto\"".to_owned()),
    }
}

fn node(name: String) -> Result<String, String> {
    if is_node_name(&name) {
        Ok(name)
    } else {
        Err(format!("kubernetes.node_name is not a valid node name: {NODE_NAMES}"))
    }
}

const NODE_NAMES: &str = "give 1 to 253 of a-z, 0-9, . and -, as shown by kubectl get nodes";

fn limit_of(limit: i64) -> Result<usize, String> {
    let valid = usize::try_from(limit).ok().filter(|_| REMOTE_LIMIT.contains(&limit));
    let (least, most) = (REMOTE_LIMIT.start(), REMOTE_LIMIT.end());
    valid.ok_or_else(|| format!("kubernetes.remote_limit is {limit}: give {least} to {most}"))
}

fn file(path: PathBuf) -> Result<PathBuf, String> {
    if path.is_absolute() { Ok(path) } else { Err("kubernetes.kubeconfig is not an absolute path".to_owned()) }
}

/// Whether this is a valid node name. It becomes part of a field selector, so other characters could widen the selection.
fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

/// How to watch the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the address and the credentials come from.
    pub source: Source,
    /// This node's name in the API.
    pub node: String,
    /// Maximum addresses with a name; `None`: remote ends are not named.
    pub remote_limit: Option<usize>,
}

impl Settings {
    /// Resolves the table with this host name and environment; `None`: the API is not watched.
    ///
    /// # Errors
    /// If the node name that results is invalid.
    pub fn resolve(
        table: &Table,
        host: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let in_cluster = environment("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty());
        if !table.enabled.unwrap_or(in_cluster || table.kubeconfig.is_some()) {
            return Ok(None);
        }
        let given = || environment("NODE_NAME").filter(|name| !name.is_empty());
        // The kubelet registers the node with the host name in lower case.
        let node = table.node_name.clone().or_else(given).unwrap_or_else(|| host.to_ascii_lowercase());
        if !is_node_name(&node) {
            let node = rstwatch_verdict::escape::printable(&node);
            return Err(format!(
                "{node} is not a valid node name: set NODE_NAME or kubernetes.node_name: {NODE_NAMES}"
            ));
        }
        let source = table.kubeconfig.clone().map_or(Source::InCluster, Source::Kubeconfig);
        Ok(Some(Self { source, node, remote_limit: table.remote.then_some(table.remote_limit) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(table: &Table, environment: &[(&str, &str)]) -> Result<Option<(String, Source)>, String> {
        let variable =
            |wanted: &str| environment.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        let settings = Settings::resolve(table, "Host-A", variable)?;
        Ok(settings.map(|settings| (settings.node, settings.source)))
    }

    #[test]
    fn the_api_is_watched_in_a_pod_or_with_a_kubeconfig() {
        const POD: (&str, &str) = ("KUBERNETES_SERVICE_HOST", "10.96.0.1");
        let auto = Table::default();
        assert_eq!(resolved(&auto, &[]), Ok(None));
        assert_eq!(resolved(&auto, &[("KUBERNETES_SERVICE_HOST", "")]), Ok(None));
        assert_eq!(resolved(&auto, &[POD]), Ok(Some(("host-a".into(), Source::InCluster))));
        let named = [POD, ("NODE_NAME", "node-7.example")];
        assert_eq!(resolved(&auto, &named), Ok(Some(("node-7.example".into(), Source::InCluster))));
        let off = Table { enabled: Some(false), ..auto.clone() };
        assert_eq!(resolved(&off, &[POD]), Ok(None));
        let on = Table { enabled: Some(true), node_name: Some("n".into()), ..auto.clone() };
        assert_eq!(resolved(&on, &named), Ok(Some(("n".into(), Source::InCluster))));
        let file = Table { kubeconfig: Some("/k".into()), ..auto };
        assert_eq!(resolved(&file, &[]), Ok(Some(("host-a".into(), Source::Kubeconfig("/k".into())))));
    }

    #[test]
    fn names_that_would_widen_the_selection_are_refused() {
        for name in ["a,status.phase=Running", "a b", "A_B", "ä", "a=b", "a\n"] {
            let environment = [("KUBERNETES_SERVICE_HOST", "x"), ("NODE_NAME", name)];
            let error = resolved(&Table::default(), &environment).expect_err("refused");
            assert!(error.contains("not a valid node name") && error.lines().count() == 1, "{error}");
        }
    }
}
