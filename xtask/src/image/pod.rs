//! The image's daemon under exactly what the rendered manifests give it: their arguments, mounts and capabilities. It must be
//! ready, know its rights, and see a reset of another network namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::command;
use dev_support::command::end_with_parent;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::sandbox::{self, Pod};
use crate::packaging::document::{list, word};
use crate::packaging::live::{Seen, in_namespace, ready, reset, until};
use crate::packaging::rights::{ALWAYS, WITHOUT_FENTRY};
use crate::packaging::{render, tools};

const NODE: &str = "node-of-the-test";

/// What is run, by the components that are added to the base, or the overlay instead of it; and the capabilities that it gives
/// beyond those of everywhere.
const CASES: [(&str, Option<&str>); 4] = [
    ("base", None),
    ("components/net-admin", Some(WITHOUT_FENTRY)),
    // These bring configurations of their own.
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
        let room = tempfile::tempdir()?;
        let pod = pod(&documents, root, room.path())?;
        let wanted: Vec<_> = ALWAYS.into_iter().chain(extra).collect();
        ensure!(pod.capabilities == wanted, "{what}: the manifest gives {:?}, not {wanted:?}", pod.capabilities);
        rights(&pod, room.path()).with_context(|| format!("{what}: rstwatch check"))?;
        serves(&pod, room.path()).with_context(|| format!("{what}: the agent"))?;
    }
    Ok(())
}

/// The pod of the DaemonSet, as a kubelet would make it of these documents.
fn pod(documents: &[Value], root: &Path, room: &Path) -> Result<Pod> {
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| word(document, "/kind") == kind);
    let agent = of_kind("DaemonSet").next().context("no DaemonSet")?;
    let spec = &agent["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    ensure!(
        spec["hostPID"] == true && spec["hostNetwork"] == false,
        "the test has the host's pids, but not its network"
    );
    let mut mounts = Vec::new();
    for mount in list(container, "/volumeMounts") {
        let volume =
            list(spec, "/volumes").iter().find(|volume| volume["name"] == mount["name"]).context("a volume")?;
        let host = match volume["hostPath"]["path"].as_str() {
            Some(path) => PathBuf::from(path),
            None => configuration(of_kind("ConfigMap"), word(volume, "/configMap/name"), room)?,
        };
        mounts.push((host, word(mount, "/mountPath").to_owned()));
    }
    let words = |pointer: &str| list(container, pointer).iter().filter_map(Value::as_str).map(str::to_owned);
    let args = words("/args").map(|arg| arg.replace("$(NODE_NAME)", NODE));
    Ok(Pod {
        root: root.to_owned(),
        mounts,
        capabilities: words("/securityContext/capabilities/add").collect(),
        command: ["/rstwatch".to_owned()].into_iter().chain(args).collect(),
        env: vec![("NODE_NAME".to_owned(), NODE.to_owned())],
    })
}

/// A ConfigMap as the folder that a kubelet makes of it.
fn configuration<'a>(mut all: impl Iterator<Item = &'a Value>, name: &str, room: &Path) -> Result<PathBuf> {
    let map = all.find(|map| word(map, "/metadata/name") == name).with_context(|| format!("no ConfigMap {name}"))?;
    let folder = room.join(name);
    fs::create_dir(&folder)?;
    for (file, text) in map["data"].as_object().context("no data")? {
        fs::write(folder.join(file), text.as_str().context("no text")?)?;
    }
    // The pod has not the rights to pass by modes.
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(folder)
}

/// `rstwatch check` says that the agent can run, and holds what it was given and nothing else.
fn rights(pod: &Pod, room: &Path) -> Result<()> {
    let pod = Pod {
        command: vec!["/rstwatch".to_owned(), "check".to_owned()],
        root: pod.root.clone(),
        mounts: pod.mounts.clone(),
        capabilities: pod.capabilities.clone(),
        env: Vec::new(),
    };
    let done = sandbox::command(&pod, &room.join("check.json"))?.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success(), "{}{said}", String::from_utf8_lossy(&done.stderr));
    let mut wanted: Vec<_> = ALWAYS.into_iter().chain([WITHOUT_FENTRY]).collect();
    for line in said.lines().filter(|line| line.trim_start().starts_with("CAP_")) {
        let name = line.split_whitespace().next().unwrap_or_default().trim_start_matches("CAP_");
        let held = line.split_whitespace().nth(1).is_some_and(|word| word.starts_with("yes"));
        ensure!(held == pod.capabilities.iter().any(|given| given == name), "{line}");
        let at =
            wanted.iter().position(|wanted| *wanted == name).with_context(|| format!("it wants CAP_{name} too"))?;
        wanted.remove(at);
    }
    ensure!(wanted.is_empty(), "it does not speak of {wanted:?}: {said}");
    Ok(())
}

/// The agent becomes ready, sees a reset that is made outside of its network namespace, and ends when asked to.
fn serves(pod: &Pod, room: &Path) -> Result<()> {
    let log = room.join("log");
    let mut command = sandbox::command(pod, &room.join("agent.json"))?;
    end_with_parent(&mut command);
    let mut agent = Running(command.stderr(File::create(&log)?).stdin(Stdio::null()).spawn()?);
    let seen = watch(&mut agent.0).and_then(|()| end(&mut agent.0));
    seen.with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

fn watch(agent: &mut Child) -> Result<()> {
    let namespace = namespace(agent)?;
    in_namespace(&namespace, || {
        let mut ip = Command::new("ip");
        command::run_quiet(ip.args(["link", "set", "lo", "up"]))
    })?;
    until("/readyz", || {
        if let Some(status) = agent.try_wait()? {
            bail!("it ended: {status}");
        }
        Ok(in_namespace(&namespace, ready).is_ok())
    })?;
    // Whose reset it was is known by the host's pid. It is made in another network namespace than the agent's.
    let host = File::open("/proc/self/ns/net")?;
    let seen = Seen { node: Some(NODE), pid: Some(std::process::id()) };
    in_namespace(&namespace, || seen.made_by(|| in_namespace(&host, reset)))
}

/// Its network namespace, once it has one of its own.
fn namespace(agent: &Child) -> Result<File> {
    let ours = fs::read_link("/proc/self/ns/net")?;
    let theirs = format!("/proc/{}/ns/net", agent.id());
    until("its own network namespace", || Ok(fs::read_link(&theirs)? != ours))?;
    File::open(theirs).context("its network namespace")
}

fn end(agent: &mut Child) -> Result<()> {
    kill_process(Pid::from_child(agent), Signal::TERM)?;
    until("its end", || Ok(agent.try_wait()?.is_some()))?;
    let status = agent.wait()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// It does not outlive a check that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
