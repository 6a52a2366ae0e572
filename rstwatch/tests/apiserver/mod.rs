//! A fake Kubernetes API over real HTTP: lists with pages, watches, bookmarks, 410 Gone, and many failures.
//!
//! Depends only on the standard library and serde_json, because the lab uses it too.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::connection::Connection;

mod connection;

/// Longest wait for a condition.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A received request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its decoded query.
    pub query: BTreeMap<String, String>,
    /// Its `Authorization` header.
    pub authorization: Option<String>,
}

impl Request {
    /// Whether it is a watch; otherwise a list.
    pub fn is_watch(&self) -> bool {
        self.value("watch") == Some("true")
    }

    /// A value of the query.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str)
    }
}

/// How the server responds to requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behavior {
    /// As the real API does.
    #[default]
    Normal,
    /// With this status and body.
    Status(u16, String),
    /// Accepts the request and sends nothing.
    Silent,
    /// With status 200 and this body.
    Body(String),
    /// Lists: sends the body a byte at a time, without end.
    Trickle,
    /// With a body of one line with this many bytes.
    Huge(u64),
    /// Watches: sends this event, then ends.
    WatchBody(String),
    /// Watches: responds with this status.
    WatchStatus(u16),
    /// Watches: sends half a line, then closes the connection.
    WatchTruncated,
    /// Watches: ends at once.
    WatchEnds,
}

#[derive(Default)]
struct State {
    /// Objects by plural and by key.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    version: u64,
    /// Versions below this one have expired.
    expired: u64,
    /// Changes: version, plural, type, object.
    changes: Vec<(u64, String, &'static str, Value)>,
    /// Number of bookmarks to send.
    bookmarks: u64,
    /// Connections of an earlier generation are closed.
    generation: u64,
    behavior: Behavior,
    requests: Vec<Request>,
    watching: usize,
    stopped: bool,
}

/// The server's end of a connection.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// Wraps an accepted connection, for example in TLS.
pub type Wrap = Arc<dyn Fn(TcpStream) -> io::Result<Box<dyn Stream>> + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes of bodies written to clients.
    written: AtomicU64,
}

/// The server; dropping it stops it.
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl ApiServer {
    /// Serves plain HTTP on a free port of loopback.
    pub fn start() -> io::Result<Self> {
        Self::wrapped(Arc::new(|stream| Ok(Box::new(stream))))
    }

    /// Serves on a free port of loopback over wrapped connections.
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
                    // A client that disconnects is not an error.
                    _ = wrap(stream).and_then(|stream| Connection::new(stream, shared).serve());
                });
            }
        })?;
        Ok(Self { address, shared })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig for this server over plain HTTP.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&format!("server: http://{}", self.address))
    }

    /// Adds or changes an object of this plural, and sets its resource version.
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

    /// Adds an object, and sends an unreadable event for it.
    pub fn put_unreadable(&self, plural: &str, mut object: Value) {
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

    /// Sends an event of any kind to all watches of this plural.
    pub fn send(&self, plural: &str, kind: &'static str, object: Value) {
        let mut state = self.shared.lock();
        state.version += 1;
        state.change(plural, kind, object);
        self.shared.changed.notify_all();
    }

    /// Sends a bookmark to all watches that requested bookmarks.
    pub fn bookmark(&self) {
        let mut state = self.shared.lock();
        state.version += 1;
        state.bookmarks += 1;
        self.shared.changed.notify_all();
    }

    /// Expires all versions so far: a watch from one of them gets 410.
    pub fn expire_versions(&self) {
        let mut state = self.shared.lock();
        state.version += 1;
        state.expired = state.version;
        state.changes.clear();
    }

    /// Changes how the server responds, and closes the current connections.
    pub fn set_behavior(&self, behavior: Behavior) {
        let mut state = self.shared.lock();
        state.behavior = behavior;
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

    /// Waits until this many watches are active. Returns false on timeout.
    pub fn wait_for_watches(&self, count: usize) -> bool {
        self.wait(|state| state.watching >= count)
    }

    /// Waits until the requests meet the condition. Returns false on timeout.
    pub fn wait_for_requests(&self, condition: impl Fn(&[Request]) -> bool) -> bool {
        self.wait(|state| condition(&state.requests))
    }

    fn wait(&self, condition: impl Fn(&State) -> bool) -> bool {
        let end = Instant::now() + TIMEOUT;
        let mut state = self.shared.lock();
        while !condition(&state) {
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
        // Wakes the accepting thread.
        _ = TcpStream::connect(self.address);
    }
}

/// A kubeconfig of one cluster, given as a line of YAML.
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
