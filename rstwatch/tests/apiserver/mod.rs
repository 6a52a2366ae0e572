//! A double of the Kubernetes API over real HTTP: list (in pages), watch, bookmarks, 410 Gone; and every way to fail.
//!
//! It knows nothing of rstwatch and needs the standard library and serde_json alone, so that the lab uses it too.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

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

/// One connection, request after request.
struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    shared: Arc<Shared>,
}

impl Connection {
    fn new(stream: Box<dyn Stream>, shared: Arc<Shared>) -> Self {
        Self { stream: BufReader::new(stream), shared }
    }

    fn serve(mut self) -> io::Result<()> {
        while let Some(request) = self.request()? {
            let (mood, generation) = {
                let mut state = self.shared.lock();
                state.requests.push(request.clone());
                (state.mood.clone(), state.generation)
            };
            self.shared.changed.notify_all();
            if !self.answer(&request, mood, generation)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next one; none at the end.
    fn request(&mut self) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut authorization = None;
        loop {
            let mut header = String::new();
            if self.stream.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = Some(value.trim().to_owned());
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = pairs.map(|(key, value)| (decoded(key), decoded(value))).collect();
        Ok(Some(Request { method, path: path.to_owned(), query, authorization }))
    }

    /// Whether the connection goes on.
    fn answer(&mut self, request: &Request, mood: Mood, generation: u64) -> io::Result<bool> {
        let watch = request.is_watch();
        match mood {
            Mood::Status(code, body) => self.whole(code, &body),
            Mood::WatchStatus(code) if watch => self.whole(code, &status(code).to_string()),
            Mood::Silent => {
                self.wait_for_change(generation);
                Ok(false)
            }
            Mood::Says(body) => self.whole(200, &body),
            Mood::Trickle if !watch => self.trickle(generation),
            Mood::Huge(bytes) => self.huge(bytes),
            Mood::WatchSays(line) if watch => self.whole(200, &format!("{line}\n")),
            Mood::WatchEnds if watch => self.whole(200, ""),
            Mood::WatchCut if watch => {
                self.head(200, None)?;
                self.chunk("{\"type\":\"ADDED\",\"object\":{\"meta")?;
                Ok(false)
            }
            _ if request.method != "GET" => self.whole(405, &status(405).to_string()),
            _ if watch => self.watch(request, generation),
            _ => self.list(request),
        }
    }

    fn head(&mut self, code: u16, length: Option<usize>) -> io::Result<()> {
        let length =
            length.map_or("Transfer-Encoding: chunked".to_owned(), |length| format!("Content-Length: {length}"));
        let stream = self.stream.get_mut();
        write!(stream, "HTTP/1.1 {code} It\r\nContent-Type: application/json\r\n{length}\r\n\r\n")?;
        stream.flush()
    }

    fn whole(&mut self, code: u16, body: &str) -> io::Result<bool> {
        self.head(code, Some(body.len()))?;
        self.write(body.as_bytes())?;
        Ok(true)
    }

    fn chunk(&mut self, text: &str) -> io::Result<()> {
        self.write(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()?;
        self.shared.written.fetch_add(u64::try_from(bytes.len()).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    fn wait_for_change(&self, generation: u64) {
        let mut state = self.shared.lock();
        while state.generation == generation {
            state = self.shared.wait(state, Duration::from_secs(1));
        }
    }

    fn trickle(&mut self, generation: u64) -> io::Result<bool> {
        self.head(200, None)?;
        while self.shared.lock().generation == generation {
            self.chunk(" ")?;
            let state = self.shared.lock();
            // A trickle has a pace.
            drop(self.shared.wait(state, Duration::from_millis(5)));
        }
        Ok(false)
    }

    fn huge(&mut self, bytes: u64) -> io::Result<bool> {
        self.head(200, None)?;
        let piece = "x".repeat(1 << 16);
        self.chunk("{\"type\":\"ADDED\",\"object\":\"")?;
        for _ in 0..bytes >> 16 {
            self.chunk(&piece)?;
        }
        self.chunk("\"}\n")?;
        self.write(b"0\r\n\r\n")?;
        Ok(true)
    }

    fn list(&mut self, request: &Request) -> io::Result<bool> {
        let state = self.shared.lock();
        let plural = request.path.rsplit('/').next().unwrap_or_default();
        let version = state.version;
        let from = request.value("continue").unwrap_or_default();
        let all = state.objects.get(plural).into_iter().flatten();
        let mut selected = all.filter(|(key, object)| key.as_str() > from && selects(request, object));
        let limit = request.value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let page: Vec<_> = selected.by_ref().take(limit).collect();
        let last = page.last().map(|(key, _)| (*key).clone());
        let next = selected.next().and(last).unwrap_or_default();
        let items: Vec<_> = page.into_iter().map(|(_, object)| object).collect();
        let body = json!({
            "kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": version.to_string(), "continue": next},
            "items": items,
        })
        .to_string();
        drop(state);
        self.whole(200, &body)
    }

    fn watch(&mut self, request: &Request, generation: u64) -> io::Result<bool> {
        let mut from: u64 = request.value("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        self.head(200, None)?;
        if from < self.shared.lock().forgotten {
            self.chunk(&format!("{}\n", json!({"type": "ERROR", "object": status(410)})))?;
            self.write(b"0\r\n\r\n")?;
            return Ok(true);
        }
        let plural = request.path.rsplit('/').next().unwrap_or_default();
        let bookmarks = {
            let mut state = self.shared.lock();
            state.watching += 1;
            state.bookmarks
        };
        self.shared.changed.notify_all();
        let result = self.follow(request, plural, [&mut from, &mut { bookmarks }], generation);
        self.shared.lock().watching -= 1;
        result.map(|()| false)
    }

    fn follow(
        &mut self,
        request: &Request,
        plural: &str,
        [from, bookmarks]: [&mut u64; 2],
        generation: u64,
    ) -> io::Result<()> {
        let wants_bookmarks = request.value("allowWatchBookmarks") == Some("true");
        loop {
            let mut lines = String::new();
            let mut state = self.shared.lock();
            // What was to be said before the cut is said.
            let cut = state.generation != generation;
            let first = state.changes.partition_point(|(version, ..)| version <= from);
            for (_, changed, kind, object) in &state.changes[first..] {
                if changed == plural && (*kind == "RAW" || selects(request, object)) {
                    let raw = object.as_str().filter(|_| *kind == "RAW");
                    lines += &raw.map_or_else(|| json!({"type": kind, "object": object}).to_string(), str::to_owned);
                    lines.push('\n');
                }
            }
            *from = state.version;
            if wants_bookmarks && state.bookmarks > *bookmarks {
                *bookmarks = state.bookmarks;
                let object =
                    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": from.to_string()}});
                lines += &format!("{}\n", json!({"type": "BOOKMARK", "object": object}));
            }
            if lines.is_empty() {
                if cut {
                    return Ok(());
                }
                state = self.shared.wait(state, Duration::from_secs(1));
                drop(state);
                continue;
            }
            drop(state);
            self.chunk(&lines)?;
        }
    }
}

/// Whether the field selector takes it; the API knows `spec.nodeName` of pods.
fn selects(request: &Request, object: &Value) -> bool {
    match request.value("fieldSelector").map(|selector| selector.split_once('=')) {
        None => true,
        Some(Some(("spec.nodeName", node))) => object["spec"]["nodeName"] == node,
        Some(_) => false,
    }
}

fn status(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
           "message": format!("status {code} on purpose"), "reason": if code == 410 { "Expired" } else { "Other" }})
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| {
            byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
        };
        bytes.push(match byte {
            b'%' => hex(rest.next()).unwrap_or(0) << 4 | hex(rest.next()).unwrap_or(0),
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
