//! The configuration in use, which follows its files without a restart.
//!
//! Before a connection or a request is served, but at most once a second, the files' metadata are compared. If a file has
//! changed, all of them are read before the connection or request is served. So connections use a certificate that
//! Kubernetes has renewed at most a second later. While a file is invalid, the Prometheus exporter toolkit refuses every
//! request. Here the last valid configuration stays in use, [`WebConfig::is_up_to_date`] is false and the log has the
//! reason: losing all metrics because an editor saved half a file would defeat the exporter's purpose.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::error::{ConfigError, Invalid};
use super::load::{LoadedConfig, load};
use super::rate_limit::TokenBucket;
use crate::auth::PasswordChecker;

/// Time between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a connection waits for a check; a file system may hang.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The web configuration in use: TLS, users, headers and the rate limit.
pub struct WebConfig {
    path: PathBuf,
    state: Mutex<State>,
    /// Held during a check: one at a time, also while a file system hangs.
    checking: Mutex<()>,
    /// Remembers valid passwords across reloads.
    passwords: Arc<PasswordChecker>,
    bucket: TokenBucket,
}

struct State {
    loaded: Arc<LoadedConfig>,
    checked: Instant,
    /// The files had changed so recently when they were read that a further change may not show in their metadata.
    is_recent: bool,
    /// Why the newest configuration is not in use.
    error: Option<ConfigError>,
}

impl WebConfig {
    /// Reads the file and everything that it names.
    ///
    /// # Errors
    /// If a file cannot be read or is invalid.
    pub fn open(path: &Path) -> Result<Arc<Self>, ConfigError> {
        let checked = Instant::now();
        let loaded = Arc::new(load(path)?);
        let passwords = PasswordChecker::new();
        let passwords = passwords.map_err(|_| ConfigError::new("this system provides no random numbers"))?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            bucket: TokenBucket::full(loaded.rate_limit),
            state: Mutex::new(State { checked, is_recent: loaded.files.are_recent(), error: None, loaded }),
            checking: Mutex::default(),
            passwords,
        }))
    }

    /// The files that are read at a reload: the configuration and those that it names.
    ///
    /// An exporter that restricts its own access to files has to keep these readable, and their folders too, because a file
    /// may be replaced by another one of the same name.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().loaded.files.paths()
    }

    /// Whether connections use TLS. A reload never changes that.
    pub fn has_tls(&self) -> bool {
        self.state().loaded.tls.is_some()
    }

    /// Whether the newest configuration is in use; false while its files are invalid and an older one is.
    pub fn is_up_to_date(&self) -> bool {
        self.state().error.is_none()
    }

    /// Reads all files now, whether they have changed or not, and logs the result; for SIGHUP. Blocks.
    pub fn reload(&self) {
        self.check(true);
        if self.is_up_to_date() {
            tracing::info!("web configuration read from {}", self.path.display());
        }
    }

    /// The configuration in use, after a check of the files if one is due.
    pub(crate) async fn current(self: &Arc<Self>) -> Arc<LoadedConfig> {
        if self.is_due() {
            let config = Arc::clone(self);
            // While a file system hangs, the old configuration stays in use.
            _ = tokio::time::timeout(CHECK_TIMEOUT, tokio::task::spawn_blocking(move || config.check(false))).await;
        }
        Arc::clone(&self.state().loaded)
    }

    /// Checks users' passwords.
    pub(crate) fn passwords(&self) -> &Arc<PasswordChecker> {
        &self.passwords
    }

    /// Whether the rate limit admits one more request now.
    pub(crate) fn admits(&self, loaded: &LoadedConfig) -> bool {
        loaded.rate_limit.is_none_or(|limit| self.bucket.take(limit))
    }

    fn is_due(&self) -> bool {
        let mut state = self.state();
        let is_due = state.checked.elapsed() >= CHECK_INTERVAL;
        if is_due {
            state.checked = Instant::now();
        }
        is_due
    }

    /// Reads the files if they may have changed, or `always`.
    fn check(&self, always: bool) {
        let _turn = match self.checking.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) if always => self.checking.lock().unwrap_or_else(PoisonError::into_inner),
            Err(TryLockError::WouldBlock) => return,
        };
        // An invalid file may have been half written: it is read at each check.
        let (loaded, must_read) = {
            let state = self.state();
            (Arc::clone(&state.loaded), always || state.is_recent || state.error.is_some())
        };
        if must_read || loaded.files.have_changed() {
            self.read(&loaded);
        }
    }

    fn read(&self, old: &LoadedConfig) {
        let new = load(&self.path).and_then(|new| match self.forbidden(old, &new) {
            Some(error) => Err(error),
            None => Ok(new),
        });
        let mut state = self.state();
        match new {
            Ok(new) => {
                state.is_recent = new.files.are_recent();
                if !old.files.same_content(&new.files) || state.error.is_some() {
                    tracing::info!("web configuration reloaded from {}", self.path.display());
                }
                state.error = None;
                self.passwords.retain(&new.users);
                // Also if only the metadata are new.
                state.loaded = Arc::new(new);
            }
            Err(error) if state.error.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::error!("{error}: keeping the previous web configuration");
                state.error = Some(error);
            }
        }
    }

    /// Why a valid configuration must not follow the old one.
    fn forbidden(&self, old: &LoadedConfig, new: &LoadedConfig) -> Option<ConfigError> {
        let message = match (old.tls.is_some(), new.tls.is_some()) {
            (true, false) => "turning TLS off needs a restart",
            (false, true) => "turning TLS on needs a restart",
            // The file may have been truncated, so only an explicit `basic_auth_users: {}` turns passwords off.
            _ if !old.users.is_empty() && !new.has_users_section => {
                "basic_auth_users is missing: write basic_auth_users: {} to remove all users"
            }
            _ => return None,
        };
        Some(Invalid::new(message).in_file(&self.path))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bcrypt_hash;

    #[test]
    fn users_are_removed_by_an_explicit_word_only() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("web.yml");
        let users = format!("basic_auth_users:\n  alice: {}\n", bcrypt_hash("secret"));
        std::fs::write(&path, &users).expect("written");
        let config = WebConfig::open(&path).expect("valid");
        // Text, whether it is accepted, and whether users exist afterwards. An editor or a full disk may leave a truncated
        // file.
        for (text, is_accepted, has_users) in [
            ("", false, true),
            (&users, true, true),
            ("basic_auth_users:\n", false, true),
            ("http_server_config:\n  http2: false\n", false, true),
            ("basic_auth_users: {}\n", true, false),
            ("", true, false),
        ] {
            std::fs::write(&path, text).expect("written");
            config.reload();
            let found = (config.is_up_to_date(), !config.state().loaded.users.is_empty());
            assert_eq!(found, (is_accepted, has_users), "{text:?}");
        }
    }
}
