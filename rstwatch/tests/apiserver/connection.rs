//! One connection of the fake server: reads requests and responds according to the behavior.

use std::io::{self, BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Behavior, Request, Shared, Stream};

/// One connection, which serves requests in order.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    shared: Arc<Shared>,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>, shared: Arc<Shared>) -> Self {
        Self { stream: BufReader::new(stream), shared }
    }

    pub(super) fn serve(mut self) -> io::Result<()> {
        while let Some(request) = self.request()? {
            let (behavior, generation) = {
                let mut state = self.shared.lock();
                state.requests.push(request.clone());
                (state.behavior.clone(), state.generation)
            };
            self.shared.changed.notify_all();
            if !self.respond(&request, behavior, generation)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads the next request; `None` at the end.
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

    /// Responds to a request. Returns whether the connection stays open.
    fn respond(&mut self, request: &Request, behavior: Behavior, generation: u64) -> io::Result<bool> {
        let watch = request.is_watch();
        match behavior {
            Behavior::Status(code, body) => self.complete(code, &body),
            Behavior::WatchStatus(code) if watch => self.complete(code, &status(code).to_string()),
            Behavior::Silent => {
                self.wait_for_change(generation);
                Ok(false)
            }
            Behavior::Body(body) => self.complete(200, &body),
            Behavior::Trickle if !watch => self.trickle(generation),
            Behavior::Huge(bytes) => self.huge(bytes),
            Behavior::WatchBody(line) if watch => self.complete(200, &format!("{line}\n")),
            Behavior::WatchEnds if watch => self.complete(200, ""),
            Behavior::WatchTruncated if watch => {
                self.head(200, None)?;
                self.chunk("{\"type\":\"ADDED\",\"object\":{\"meta")?;
                Ok(false)
            }
            _ if request.method != "GET" => self.complete(405, &status(405).to_string()),
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

    fn complete(&mut self, code: u16, body: &str) -> io::Result<bool> {
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
            // One byte per interval.
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
        self.complete(200, &body)
    }

    fn watch(&mut self, request: &Request, generation: u64) -> io::Result<bool> {
        let mut from: u64 = request.value("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        self.head(200, None)?;
        if from < self.shared.lock().expired {
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
        let sends_bookmarks = request.value("allowWatchBookmarks") == Some("true");
        loop {
            let mut lines = String::new();
            let mut state = self.shared.lock();
            // Events from before the behavior changed are still sent.
            let closing = state.generation != generation;
            let first = state.changes.partition_point(|(version, ..)| version <= from);
            for (_, changed, kind, object) in &state.changes[first..] {
                if changed == plural && (*kind == "RAW" || selects(request, object)) {
                    let raw = object.as_str().filter(|_| *kind == "RAW");
                    lines += &raw.map_or_else(|| json!({"type": kind, "object": object}).to_string(), str::to_owned);
                    lines.push('\n');
                }
            }
            *from = state.version;
            if sends_bookmarks && state.bookmarks > *bookmarks {
                *bookmarks = state.bookmarks;
                let object =
                    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": from.to_string()}});
                lines += &format!("{}\n", json!({"type": "BOOKMARK", "object": object}));
            }
            if lines.is_empty() {
                if closing {
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

/// Whether the field selector selects the object; only `spec.nodeName` is supported.
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
