//! A double of the Kubernetes API over real HTTP: list (in pages), watch, bookmarks, 410 Gone; and every way to fail.
//!
//! It knows nothing of rstwatch and needs the standard library and serde_json alone, so that the lab uses it too.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::connection::Connection;

mod connection;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its query, decoded.
    pub query: BTreeMap<String, String>,
    /// Its `Authorization`.
    pub authorization: Option<String>,
}

impl Request {
    /// Whether it is a watch; else a list.
    pub fn is_watch(&self) -> bool {
        self.value("watch") == Some("true")
    }

    /// A value of the query.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str)
    }
}

/// How requests are answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As the API does.
    #[default]
    Well,
    /// With this status, and this body.
    Status(u16, String),
    /// Not at all.
    Silent,
    /// With this body, as the success of a list or the line of a watch.
    Says(String),
    /// Lists only: the body comes a byte at a time, and never ends.
    Trickle,
    /// A body of one line of so many bytes.
    Huge(u64),
    /// Watches only: answered with this event, then ended.
    WatchSays(String),
    /// Watches only: answered with this status.
    WatchStatus(u16),
    /// Watches only: answered with half a line, then cut off.
    WatchCut,
    /// Watches only: answered, and ended at once.
    WatchEnds,
}

#[derive(Default)]
struct State {
    /// Objects by plural and by key.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    version: u64,
    /// Versions up to this one are forgotten.
    forgotten: u64,
    /// Changes: version, plural, type, object.
    changes: Vec<(u64, String, &'static str, Value)>,
    /// Each bookmark that is asked for counts one up.
    bookmarks: u64,
    /// Connections of a lower generation are cut off.
    generation: u64,
    mood: Mood,
    requests: Vec<Request>,
    watching: usize,
    stopped: bool,
}

/// The server's end of a connection.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// What is made of an accepted connection: itself, or TLS over it.
pub type Wrap = Arc<dyn Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes of bodies that were taken by clients.
    written: AtomicU64,
}

/// The server; it ends with this.
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl ApiServer {
    /// Serves plain HTTP on a free port of loopback.
    pub fn start() -> io::Result<Self> {
        Self::wrapped(Arc::new(|stream| Ok(Box::new(stream))))
    }

    /// The same, over what the wrap makes of connections.
    pub fn wrapped(wrap: Wrap) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), written: AtomicU64::new(0) });
        shared.lock().version = 1;
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new().name("apiserver".into()).spawn(move || {
            for stream in listener.incoming() {
                if accepting.lock().stopped {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, wrap) = (Arc::clone(&accepting), Arc::clone(&wrap));
                _ = std::thread::Builder::new().spawn(move || {
                    // Who goes away is no failure of the server.
                    _ = wrap(stream).and_then(|stream| Connection::new(stream, shared).serve());
                });
            }
        })?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig that leads to it over plain HTTP.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&format!("server: http://{}", self.address))
    }

    /// Adds or changes an object of this plural; its resource version is set here.
    pub fn put(&self, plural: &str, mut object: Value) {
        let mut state = self.shared.lock();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let key = key(&object);
        let before = state.objects.entry(plural.to_owned()).or_default().insert(key, object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        state.change(plural, kind, object);
        self.shared.changed.notify_all();
    }

    /// Adds an object, and tells of it what nobody can read.
    pub fn garble(&self, plural: &str, mut object: Value) {
        let mut state = self.shared.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.objects.entry(plural.to_owned()).or_default().insert(key(&object), object);
        state.change(plural, "RAW", "{\"type\": \"ADDED\", \"object\": [}".into());
        self.shared.changed.notify_all();
    }

    /// Deletes an object by `namespace/name`.
    pub fn remove(&self, plural: &str, key: &str) {
        let mut state = self.shared.lock();
        let Some(mut object) = state.objects.get_mut(plural).and_then(|objects| objects.remove(key)) else { return };
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.change(plural, "DELETED", object);
        self.shared.changed.notify_all();
    }

    /// Sends a line of any kind to all that watch this plural.
    pub fn say(&self, plural: &str, kind: &'static str, object: Value) {
        let mut state = self.shared.lock();
        state.version += 1;
        state.change(plural, kind, object);
        self.shared.changed.notify_all();
    }

    /// Sends a bookmark to all that watch and want it.
    pub fn bookmark(&self) {
        let mut state = self.shared.lock();
        state.version += 1;
        state.bookmarks += 1;
        self.shared.changed.notify_all();
    }

    /// Forgets what is older than now: who watches from there is told 410.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.version += 1;
        state.forgotten = state.version;
        state.changes.clear();
    }

    /// Changes how requests are answered, and cuts off what is under way.
    pub fn set(&self, mood: Mood) {
        let mut state = self.shared.lock();
        state.mood = mood;
        state.generation += 1;
        self.shared.changed.notify_all();
    }

    /// Requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Bytes of bodies written so far.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Waits until so many watches are under way. Whether they came.
    pub fn wait_for_watches(&self, count: usize) -> bool {
        self.wait(|state| state.watching >= count)
    }

    /// Waits until the requests are as wanted. Whether they came.
    pub fn wait_for_requests(&self, wanted: impl Fn(&[Request]) -> bool) -> bool {
        self.wait(|state| wanted(&state.requests))
    }

    fn wait(&self, wanted: impl Fn(&State) -> bool) -> bool {
        let end = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while !wanted(&state) {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return false };
            state = self.shared.wait(state, left);
        }
        true
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        state.generation += 1;
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the accept.
        _ = TcpStream::connect(self.address);
    }
}

/// A kubeconfig of one cluster, described by a line.
pub fn kubeconfig(cluster: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\ncontexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n\
         users: [{{name: it, user: {{token: secret}}}}]\nclusters:\n- name: it\n  cluster:\n    {cluster}\n"
    )
}

/// A running pod.
pub fn pod(namespace: &str, name: &str, node: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}")},
        "spec": {"nodeName": node},
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "containerStatuses": [{"name": "main", "containerID": format!("containerd://{namespace}-{name}-1")}],
        },
    })
}

impl State {
    fn change(&mut self, plural: &str, kind: &'static str, object: Value) {
        let version = self.version;
        self.changes.push((version, plural.to_owned(), kind, object));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, longest: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, longest).unwrap_or_else(PoisonError::into_inner).0
    }
}

fn key(object: &Value) -> String {
    let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", of("namespace"), of("name"))
}
