//! `cargo xtask api`: a fake Kubernetes API for an agent, which the lab uses too.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dev_support::signals;
use serde_json::Value;
use tempfile::TempDir;

#[path = "../../rstwatch/tests/apiserver/mod.rs"]
#[expect(dead_code, unreachable_pub, reason = "the tests of rstwatch use all of it")]
mod apiserver;

/// Interval between checks for signals.
const TICK: Duration = Duration::from_millis(50);

/// What `cargo xtask api` accepts.
#[derive(clap::Args, Debug)]
pub struct ApiArgs {
    /// Objects to serve: a JSON list of pods, services and nodes
    #[arg(long, value_name = "FILE")]
    objects: PathBuf,
    /// Name of the node whose pods the agent watches
    #[arg(long, value_name = "NAME")]
    node: String,
}

/// Runs `cargo xtask api`: serves until a signal comes.
pub fn api(args: &ApiArgs) -> Result<()> {
    let shown = args.objects.display();
    let text = fs::read_to_string(&args.objects).with_context(|| format!("cannot read {shown}"))?;
    let objects: Vec<Value> = serde_json::from_str(&text).with_context(|| format!("{shown} is not a JSON list"))?;
    signals::catch()?;
    let api = Api::start(&args.node)?;
    objects.into_iter().for_each(|object| api.put(object));
    println!("rstwatch agent --config {}", api.config().display());
    println!("Ctrl-C ends");
    while signals::take().is_none() {
        thread::sleep(TICK);
    }
    Ok(())
}

/// A fake API on loopback with a configuration for an agent, both removed when dropped.
pub struct Api {
    server: apiserver::ApiServer,
    folder: TempDir,
}

impl Api {
    /// Starts the API for an agent on this node that also names remote ends.
    pub fn start(node: &str) -> Result<Self> {
        let server = apiserver::ApiServer::start().context("cannot serve the fake Kubernetes API")?;
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(&kubeconfig, server.kubeconfig())?;
        let table = format!("[kubernetes]\nnode_name = {node:?}\nremote = true\nkubeconfig = {kubeconfig:?}\n");
        fs::write(folder.path().join("rstwatch.toml"), table)?;
        Ok(Self { server, folder })
    }

    /// The path of the agent's configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("rstwatch.toml")
    }

    /// Adds or changes an object of kind `Pod`, `Service` or `Node`.
    pub fn put(&self, object: Value) {
        let plural = object["kind"].as_str().unwrap_or("Pod").to_ascii_lowercase() + "s";
        self.server.put(&plural, object);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn serves_objects_that_were_put() {
        let api = Api::start("node-a").expect("a server");
        api.put(json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {"nodeName": "node-a"}}));
        api.put(json!({"kind": "Pod", "metadata": {"name": "b"}, "spec": {"nodeName": "node-b"}}));
        let client = ureq::Agent::config_builder().proxy(None).build().new_agent();
        let url = format!("http://{}/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-a", api.server.address());
        let list = client.get(&url).call().expect("an answer").body_mut().read_to_string().expect("text");
        let list: Value = serde_json::from_str(&list).expect("JSON");
        assert_eq!((&list["items"][0]["metadata"]["name"], &list["items"][1]), (&json!("a"), &Value::Null));
        let config = fs::read_to_string(api.config()).expect("a file");
        assert!(config.contains("node_name = \"node-a\""), "{config}");
    }
}
