//! The table `[kubernetes]` of the configuration, and what becomes of it here.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::client::Source;

/// Names by address that are kept unless the configuration says otherwise.
pub const DEFAULT_REMOTE_LIMIT: usize = 50_000;
const REMOTE_LIMIT: std::ops::RangeInclusive<i64> = 1..=1_000_000;

/// The table, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Whether the API is asked; none: where this is a pod, or a kubeconfig is named.
    pub enabled: Option<bool>,
    /// This node's name in the API; none: `NODE_NAME` of the environment, else the name of this host.
    pub node_name: Option<String>,
    /// Whether the other end of connections gets a name.
    pub remote: bool,
    /// Names by address.
    pub remote_limit: usize,
    /// How the API is reached, if not as a pod does.
    pub kubeconfig: Option<PathBuf>,
}

impl Default for Table {
    fn default() -> Self {
        Self { enabled: None, node_name: None, remote: false, remote_limit: DEFAULT_REMOTE_LIMIT, kubeconfig: None }
    }
}

/// The table as written.
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
/// The byte at which the faulty value begins, and what is wrong with it.
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
        _ => Err("kubernetes.enabled is neither true nor false nor \"auto\"".to_owned()),
    }
}

fn node(name: String) -> Result<String, String> {
    if is_node_name(&name) { Ok(name) } else { Err(format!("kubernetes.node_name is no name of a node: {NODE_NAMES}")) }
}

const NODE_NAMES: &str = "give 1 to 253 of a-z, 0-9, . and -, as kubectl get nodes shows it";

fn limit_of(limit: i64) -> Result<usize, String> {
    let fitting = usize::try_from(limit).ok().filter(|_| REMOTE_LIMIT.contains(&limit));
    let (least, most) = (REMOTE_LIMIT.start(), REMOTE_LIMIT.end());
    fitting.ok_or_else(|| format!("kubernetes.remote_limit is {limit}: give {least} to {most}"))
}

fn file(path: PathBuf) -> Result<PathBuf, String> {
    if path.is_absolute() { Ok(path) } else { Err("kubernetes.kubeconfig is no absolute path".to_owned()) }
}

/// Whether this can be a node's name. It goes into a field selector.
fn is_node_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    (1..=253).contains(&name.len()) && name.bytes().all(plain)
}

/// What is asked of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How the API is reached.
    pub source: Source,
    /// This node's name in the API.
    pub node: String,
    /// Most names by address; none: the other end gets no names.
    pub remote_limit: Option<usize>,
}

impl Settings {
    /// What the table means with this environment, on a host of this name; none: the API is not asked.
    ///
    /// # Errors
    /// If what the environment calls the node cannot be its name.
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
        // The kubelet registers the node with its host's name in small letters.
        let node = table.node_name.clone().or_else(given).unwrap_or_else(|| host.to_ascii_lowercase());
        if !is_node_name(&node) {
            let node = rstwatch_verdict::escape::printable(&node);
            return Err(format!("{node} is no name of a node: set NODE_NAME or kubernetes.node_name: {NODE_NAMES}"));
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
    fn it_is_asked_where_there_is_one() {
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
            assert!(error.contains("no name of a node") && error.lines().count() == 1, "{error}");
        }
    }
}
