//! The web configuration while it is in use: read again when it changes, without a restart.
//!
//! At a use, at most once a second, the files are looked at; whatever changed is read before that use is answered. So a
//! certificate that Kubernetes has swapped serves the next connection. The toolkit refuses every request while its file is
//! broken. Here the last good configuration stays in use, `rstwatch_web_config_last_reload_successful` is 0 and the log says
//! why: metrics that vanish because an editor saved half a file would hide what the agent is for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::users::Checker;
use super::{Loaded, Stamp, load};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// How long a use waits for a look; a file system may hang.
const PATIENCE: Duration = Duration::from_secs(1);

/// The configuration in use.
pub struct Web {
    path: PathBuf,
    state: Mutex<State>,
    /// Held by who looks at the files: one at a time, also where a file system hangs.
    looking: Mutex<()>,
    /// Who checks passwords, and remembers them beyond a change of the file.
    pub checker: Arc<Checker>,
    rate: Mutex<Bucket>,
}

struct State {
    loaded: Arc<Loaded>,
    looked: Instant,
    /// A change may hide behind an equal stamp.
    is_fresh: bool,
    /// Why the newest is not in use.
    broken: Option<String>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Web {
    /// Reads the file and all that it names.
    ///
    /// # Errors
    /// In one line with the file and, where it can be told, the line.
    pub fn open(path: &Path) -> anyhow::Result<Arc<Self>> {
        let now = Instant::now();
        let loaded = Arc::new(load(path)?);
        let tokens = loaded.rate.map_or(0.0, |rate| f64::from(rate.burst));
        let state = State { looked: now, is_fresh: is_fresh(&loaded), broken: None, loaded };
        Ok(Arc::new(Self {
            path: path.to_owned(),
            state: Mutex::new(state),
            looking: Mutex::default(),
            checker: Checker::new()?,
            rate: Mutex::new(Bucket { tokens, filled: now }),
        }))
    }

    /// Files that are read again: itself, and those that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().loaded.files.iter().map(|file| file.path.clone()).collect()
    }

    /// Whether connections begin with TLS. That never changes.
    pub fn has_tls(&self) -> bool {
        self.state().loaded.tls.is_some()
    }

    #[cfg(test)]
    pub(super) fn asks_for_passwords(&self) -> bool {
        !self.state().loaded.users.is_empty()
    }

    /// Whether the newest configuration is in use.
    pub fn is_up_to_date(&self) -> bool {
        self.state().broken.is_none()
    }

    /// What is in use now, after a look at the files if one is due.
    pub async fn current(self: &Arc<Self>) -> Arc<Loaded> {
        if self.is_due() {
            let web = Arc::clone(self);
            // Where the file system hangs, the old one serves.
            _ = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(move || web.look(false))).await;
        }
        Arc::clone(&self.state().loaded)
    }

    /// Reads all again, whether it changed or not, and says so. Blocks.
    pub fn reload(&self) {
        self.look(true);
        if self.is_up_to_date() {
            tracing::info!("web configuration read from {}", self.path.display());
        }
    }

    /// Takes a token for one request; false: there is none.
    pub fn admits(&self, loaded: &Loaded) -> bool {
        let Some(rate) = loaded.rate else { return true };
        let mut bucket = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let fresh = now.duration_since(bucket.filled).as_secs_f64() / rate.interval.as_secs_f64();
        bucket.tokens = (bucket.tokens + fresh).min(f64::from(rate.burst));
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    fn is_due(&self) -> bool {
        let mut state = self.state();
        let due = state.looked.elapsed() >= LOOK;
        if due {
            state.looked = Instant::now();
        }
        due
    }

    fn look(&self, always: bool) {
        let _turn = match self.looking.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) if always => self.looking.lock().unwrap_or_else(PoisonError::into_inner),
            Err(TryLockError::WouldBlock) => return,
        };
        // What is half written now is whole soon: while it is broken it is read at each look.
        let (loaded, is_due) = {
            let state = self.state();
            (Arc::clone(&state.loaded), always || state.is_fresh || state.broken.is_some())
        };
        if is_due || loaded.files.iter().any(|file| Stamp::of(&file.path) != file.stamp) {
            self.read();
        }
    }

    fn read(&self) {
        let loaded = load(&self.path);
        let mut state = self.state();
        let loaded = loaded.and_then(|loaded| match (state.loaded.tls.is_some(), loaded.tls.is_some()) {
            (true, false) => Err(anyhow!("{}: TLS is turned off by a restart only", self.path.display())),
            (false, true) => Err(anyhow!("{}: TLS is turned on by a restart only", self.path.display())),
            // It may be cut short: nobody's password is given up by what is not there.
            _ if !state.loaded.users.is_empty() && !loaded.says_users => Err(anyhow!(
                "{}: the users are gone: write basic_auth_users: {{}} to ask nobody for a password",
                self.path.display()
            )),
            _ => Ok(loaded),
        });
        match loaded {
            Ok(loaded) => {
                state.is_fresh = is_fresh(&loaded);
                let is_new = !same_bytes(&state.loaded, &loaded);
                if is_new || state.broken.is_some() {
                    tracing::info!("web configuration: {} is in use as it is now", self.path.display());
                }
                state.broken = None;
                self.checker.keep(&loaded.users);
                // Also where only the stamps are new.
                state.loaded = Arc::new(loaded);
            }
            Err(error) => {
                let said = format!("{error:#}");
                if state.broken.as_ref() != Some(&said) {
                    tracing::error!("{said}: the old web configuration stays");
                    state.broken = Some(said);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(loaded: &Loaded) -> bool {
    loaded.files.iter().any(|file| file.stamp.is_none_or(Stamp::is_fresh))
}

fn same_bytes(one: &Loaded, other: &Loaded) -> bool {
    let files = |loaded: &'_ Loaded| loaded.files.len();
    let pairs = || one.files.iter().zip(&other.files);
    files(one) == files(other) && pairs().all(|(one, other)| one.path == other.path && one.bytes == other.bytes)
}
