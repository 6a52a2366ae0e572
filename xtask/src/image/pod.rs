//! Runs the image with exactly the arguments, mounts and capabilities of the rendered manifests. `rstwatch check` must report
//! those capabilities, and the agent must become ready and report a reset in another network namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::command;
use dev_support::command::die_with_parent;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::sandbox::{self, Pod};
use crate::packaging::capabilities::{BASE, WITHOUT_FENTRY};
use crate::packaging::document::{list, word};
use crate::packaging::smoke::{Expected, check_ready, in_namespace, make_reset, wait_until};
use crate::packaging::{render, tools};

const NODE: &str = "test-node";

/// The base, a component on the base, or an overlay; and the capability that it grants in addition to [`BASE`].
const CASES: [(&str, Option<&str>); 4] = [
    ("base", None),
    ("components/net-admin", Some(WITHOUT_FENTRY)),
    // These replace the configuration.
    ("components/remote-names", None),
    ("overlays/strict", None),
];

/// Runs each case.
pub(super) fn check(root: &Path) -> Result<()> {
    let kubectl = tools::tools()?.kubectl;
    for (what, extra) in CASES {
        let folder = render::home().join(what);
        let documents = match what.starts_with("components/") {
            true => render::with_components(&kubectl, &[folder])?,
            false => render::render(&kubectl, &folder)?,
        };
        let scratch = tempfile::tempdir()?;
        let pod = pod(&documents, root, scratch.path())?;
        let wanted: Vec<_> = BASE.into_iter().chain(extra).collect();
        ensure!(pod.capabilities == wanted, "{what}: the manifest grants {:?}, not {wanted:?}", pod.capabilities);
        check_capabilities(&pod, scratch.path()).with_context(|| format!("{what}: rstwatch check"))?;
        run_agent(&pod, scratch.path()).with_context(|| format!("{what}: the agent"))?;
    }
    Ok(())
}

/// The pod of the DaemonSet, as a kubelet would create it from these documents.
fn pod(documents: &[Value], root: &Path, scratch: &Path) -> Result<Pod> {
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| word(document, "/kind") == kind);
    let agent = of_kind("DaemonSet").next().context("no DaemonSet")?;
    let spec = &agent["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    ensure!(
        spec["hostPID"] == true && spec["hostNetwork"] == false,
        "the test supports only hostPID without hostNetwork"
    );
    let mut mounts = Vec::new();
    for mount in list(container, "/volumeMounts") {
        let volume = list(spec, "/volumes")
            .iter()
            .find(|volume| volume["name"] == mount["name"])
            .context("a mount without a volume")?;
        let host = match volume["hostPath"]["path"].as_str() {
            Some(path) => PathBuf::from(path),
            None => configuration(of_kind("ConfigMap"), word(volume, "/configMap/name"), scratch)?,
        };
        mounts.push((host, word(mount, "/mountPath").to_owned()));
    }
    let strings = |pointer: &str| list(container, pointer).iter().filter_map(Value::as_str).map(str::to_owned);
    let args = strings("/args").map(|arg| arg.replace("$(NODE_NAME)", NODE));
    Ok(Pod {
        root: root.to_owned(),
        mounts,
        capabilities: strings("/securityContext/capabilities/add").collect(),
        command: ["/rstwatch".to_owned()].into_iter().chain(args).collect(),
        env: environment(container)?,
    })
}

/// The variables of the container. Each is a field or a limit of the pod.
fn environment(container: &Value) -> Result<Vec<(String, String)>> {
    let value = |variable: &Value| match variable["valueFrom"]["resourceFieldRef"]["resource"].as_str() {
        None => Ok(NODE.to_owned()),
        Some("limits.memory") => {
            let limit = word(container, "/resources/limits/memory");
            let mebibytes: u64 =
                limit.strip_suffix("Mi").and_then(|number| number.parse().ok()).context("not in Mi")?;
            Ok((mebibytes << 20).to_string())
        }
        Some(other) => bail!("the test does not support {other}"),
    };
    list(container, "/env").iter().map(|one| Ok((word(one, "/name").to_owned(), value(one)?))).collect()
}

/// Writes a ConfigMap to a folder, as a kubelet does.
fn configuration<'a>(mut all: impl Iterator<Item = &'a Value>, name: &str, scratch: &Path) -> Result<PathBuf> {
    let map = all.find(|map| word(map, "/metadata/name") == name).with_context(|| format!("no ConfigMap {name}"))?;
    let folder = scratch.join(name);
    fs::create_dir(&folder)?;
    for (file, text) in map["data"].as_object().context("no data")? {
        fs::write(folder.join(file), text.as_str().context("no text")?)?;
    }
    // The pod lacks CAP_DAC_OVERRIDE, so modes apply to its root.
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(folder)
}

/// `rstwatch check` must report that the agent can run and that it has exactly the granted capabilities.
fn check_capabilities(pod: &Pod, scratch: &Path) -> Result<()> {
    let pod = Pod {
        command: vec!["/rstwatch".to_owned(), "check".to_owned()],
        root: pod.root.clone(),
        mounts: pod.mounts.clone(),
        capabilities: pod.capabilities.clone(),
        env: Vec::new(),
    };
    let done = sandbox::command(&pod, &scratch.join("check.json"))?.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "{}{said}", String::from_utf8_lossy(&done.stderr));
    let mut wanted: Vec<_> = BASE.into_iter().chain([WITHOUT_FENTRY]).collect();
    for line in said.lines().filter(|line| line.trim_start().starts_with("CAP_")) {
        let name = line.split_whitespace().next().unwrap_or_default().trim_start_matches("CAP_");
        let held = line.split_whitespace().nth(1).is_some_and(|word| word.starts_with("yes"));
        ensure!(held == pod.capabilities.iter().any(|given| given == name), "{line}");
        let at =
            wanted.iter().position(|wanted| *wanted == name).with_context(|| format!("it also asks for CAP_{name}"))?;
        wanted.remove(at);
    }
    ensure!(wanted.is_empty(), "it does not report {wanted:?}: {said}");
    Ok(())
}

/// The agent must become ready, report a reset from outside its network namespace, and exit on SIGTERM.
fn run_agent(pod: &Pod, scratch: &Path) -> Result<()> {
    let log = scratch.join("log");
    let mut command = sandbox::command(pod, &scratch.join("agent.json"))?;
    die_with_parent(&mut command);
    let mut agent = KillOnDrop(command.stderr(File::create(&log)?).stdin(Stdio::null()).spawn()?);
    let result = expect_reset(&mut agent.0).and_then(|()| terminate(&mut agent.0));
    result.with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

fn expect_reset(agent: &mut Child) -> Result<()> {
    let namespace = namespace(agent)?;
    in_namespace(&namespace, || {
        let mut ip = Command::new("ip");
        command::run_quiet(ip.args(["link", "set", "lo", "up"]))
    })?;
    wait_until("/readyz", || {
        if let Some(status) = agent.try_wait()? {
            bail!("the agent exited: {status}");
        }
        Ok(in_namespace(&namespace, check_ready).is_ok())
    })?;
    // The PID of the initial namespace identifies the reset, which is made outside the agent's network namespace.
    let host = File::open("/proc/self/ns/net")?;
    let expected = Expected { node: Some(NODE), pid: Some(std::process::id()) };
    in_namespace(&namespace, || expected.wait_with(|| in_namespace(&host, make_reset)))
}

/// The agent's network namespace, once unshare(1) has created it.
fn namespace(agent: &Child) -> Result<File> {
    let ours = fs::read_link("/proc/self/ns/net")?;
    let theirs = format!("/proc/{}/ns/net", agent.id());
    wait_until("the network namespace", || Ok(fs::read_link(&theirs)? != ours))?;
    File::open(theirs).context("cannot open the network namespace")
}

fn terminate(agent: &mut Child) -> Result<()> {
    kill_process(Pid::from_child(agent), Signal::TERM)?;
    wait_until("the agent to exit", || Ok(agent.try_wait()?.is_some()))?;
    let status = agent.wait()?;
    ensure!(status.success(), "the agent exited with {status}");
    Ok(())
}

/// Kills the agent if a check fails.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
