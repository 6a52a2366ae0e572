//! The image's daemon under exactly what the rendered manifests give it: their arguments, mounts and capabilities. It must be
//! ready, know its rights, and see a reset of another network namespace.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use socket2::SockRef;

use super::sandbox::{self, Pod};
use crate::agent::tie;
use crate::packaging::document::{list, word};
use crate::packaging::rights::{ALWAYS, WITHOUT_FENTRY};
use crate::packaging::{render, tools};

const NODE: &str = "node-of-the-test";
const SOON: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);

/// Runs it with the base's rights, and with those of the component for kernels without fentry.
pub(super) fn check(root: &Path) -> Result<()> {
    let tools = tools::tools()?;
    let base = render::render(&tools.kubectl, &render::home().join("base"))?;
    let wider = render::with_components(&tools.kubectl, &[render::home().join("components/net-admin")])?;
    for (what, documents, extra) in [("base", base, None), ("net-admin", wider, Some(WITHOUT_FENTRY))] {
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
        let held = line.trim_end().ends_with("yes");
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
    tie(&mut command);
    let mut agent = Running(command.stderr(File::create(&log)?).stdin(Stdio::null()).spawn()?);
    let seen = watch(&mut agent.0).and_then(|()| end(&mut agent.0));
    seen.with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

fn watch(agent: &mut Child) -> Result<()> {
    let namespace = namespace(agent)?;
    in_namespace(&namespace, || {
        let mut ip = Command::new("ip");
        crate::command::run_quiet(ip.args(["link", "set", "lo", "up"]))
    })?;
    until("/readyz", || {
        if let Some(status) = agent.try_wait()? {
            bail!("it ended: {status}");
        }
        Ok(in_namespace(&namespace, || get("/readyz")).is_ok())
    })?;
    until("the reset's event", || {
        // Each time another: whoever else makes thousands of resets here pushes one out of the recent events.
        let port = reset()?;
        thread::sleep(TICK);
        let events: Vec<Value> = serde_json::from_str(&in_namespace(&namespace, || get("/api/v1/events"))?)?;
        let ours = events.iter().find(|event| {
            event["direction"] == "sent" && [&event["local"], &event["remote"]].iter().any(|end| ends(end, port))
        });
        if let Some(event) = ours {
            ensure!(event["cause"] == "linger_abort", "a wrong cause: {event}");
            ensure!(event["node"] == NODE, "another node: {event}");
            // Whose it was is known by the host's pid.
            ensure!(event["process"]["pid"] == std::process::id(), "another's: {event}");
        }
        Ok(ours.is_some())
    })?;
    let metrics = in_namespace(&namespace, || get("/metrics"))?;
    ensure!(metrics.contains("cause=\"linger_abort\""), "no such series in /metrics");
    Ok(())
}

fn ends(end: &Value, port: u16) -> bool {
    end.as_str().is_some_and(|end| end.ends_with(&format!(":{port}")))
}

/// A connection of loopback that its client aborts; the server's port.
fn reset() -> Result<u16> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = server.local_addr()?.port();
    let client = TcpStream::connect(("127.0.0.1", port))?;
    let (mut accepted, _) = server.accept()?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    let error = accepted.read(&mut [0]).err().context("no reset came")?;
    ensure!(error.kind() == std::io::ErrorKind::ConnectionReset, "{error}");
    Ok(port)
}

/// Its network namespace, once it has one of its own.
fn namespace(agent: &Child) -> Result<File> {
    let ours = fs::read_link("/proc/self/ns/net")?;
    let theirs = format!("/proc/{}/ns/net", agent.id());
    until("its own network namespace", || Ok(fs::read_link(&theirs)? != ours))?;
    File::open(theirs).context("its network namespace")
}

/// Runs a closure on a thread inside a network namespace.
fn in_namespace<T: Send>(namespace: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        inside.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
    })
}

fn get(path: &str) -> Result<String> {
    let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(5))).build();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 9877));
    let mut answer = ureq::Agent::new_with_config(config).get(format!("http://{at}{path}")).call()?;
    Ok(answer.body_mut().with_config().limit(16 << 20).read_to_string()?)
}

fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        ensure!(started.elapsed() < SOON, "waited in vain for {what}");
        thread::sleep(TICK);
    }
    Ok(())
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
