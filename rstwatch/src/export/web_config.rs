//! `--web.config.file`: TLS, users and headers, in the format of the Prometheus exporter toolkit.
//!
//! <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>. What is beyond our TLS is refused
//! at the start, never left out in silence. See [`reload`] for what happens when the file or a certificate changes.

use std::io::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::bail;
use axum::http::{HeaderName, HeaderValue};
use rustls::ServerConfig;

use crate::files;
use file::{File, Rate};
use rstwatch_verdict::escape::printable;
use users::Users;

mod clients;
mod file;
mod names;
pub mod reload;
mod tls;
pub mod users;

/// What was read, checked and ready for use.
pub struct Loaded {
    /// None: HTTP without TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Set in every answer, instead of ours of the same name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may ask.
    pub users: Users,
    /// Whether it says who may ask.
    says_users: bool,
    /// How often anybody may ask.
    pub rate: Option<Rate>,
    /// What it was made of.
    files: Vec<Source>,
}

/// A file as it was read.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    path: PathBuf,
    stamp: Option<Stamp>,
    bytes: Vec<u8>,
}

/// Tells a file that changed from one that did not: also a new one behind the same symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let is = std::fs::metadata(path).ok()?;
        Some(Self {
            device: is.dev(),
            inode: is.ino(),
            size: is.size(),
            modified: (is.mtime(), is.mtime_nsec()),
            changed: (is.ctime(), is.ctime_nsec()),
        })
    }

    /// Whether a further change within the clock's tick would not show.
    fn is_fresh(self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).unwrap_or(0).saturating_sub(self.changed.0) < 2
    }
}

/// Reads files, and remembers what they held.
#[derive(Default)]
struct Files(Vec<Source>);

impl Files {
    /// The bytes of a file.
    fn read(&mut self, path: &Path) -> Result<Vec<u8>, Error> {
        // Before the bytes: a change while they are read shows as one afterwards.
        let stamp = Stamp::of(path);
        let bytes = files::read(path)?;
        self.0.push(Source { path: path.to_owned(), stamp, bytes: bytes.clone() });
        Ok(bytes)
    }
}

/// What is wrong, and in which line of the file.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    line: Option<u64>,
    what: String,
}

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Self { line: None, what: what.into() }
    }
}

/// Reads the file and all that it names.
fn load(path: &Path) -> anyhow::Result<Loaded> {
    let mut files = Files::default();
    let (tls, file) = read(path, &mut files)?;
    let File { headers, rate, users, says_users, .. } = file;
    Ok(Loaded { tls, headers, users: Users::new(users), says_users, rate, files: files.0 })
}

fn read(path: &Path, files: &mut Files) -> anyhow::Result<(Option<Arc<ServerConfig>>, File)> {
    let shown = path.display();
    let bytes = match files.read(path) {
        Ok(bytes) => bytes,
        Err(error) => bail!("cannot read the web configuration {shown}: {error}"),
    };
    let Ok(text) = str::from_utf8(&bytes) else { bail!("{shown}: not text in UTF-8") };
    let read = File::parse(text).and_then(|file| {
        let folder = path.parent().unwrap_or(Path::new(""));
        let tls = file.tls.as_ref().map(|tls| tls::server(tls, folder, files)).transpose()?;
        Ok((tls, file))
    });
    read.or_else(|Fault { line, what }| {
        let what = printable(&what);
        match line {
            Some(line) => bail!("{shown}:{line}: {what}"),
            None => bail!("{shown}: {what}"),
        }
    })
}

#[cfg(test)]
pub(crate) mod tests;
