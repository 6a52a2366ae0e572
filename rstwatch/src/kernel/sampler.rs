//! Samples every connection once a second, by an iterator over the files of all tasks.

use super::iterator::BpfIterator;
use super::scan::{EVIDENCE, PeriodicScan, every_second};

/// The attached iterator. Its program writes nothing; running it visits all sockets.
#[derive(Debug)]
pub struct Sampler(pub BpfIterator);

impl Sampler {
    /// Samples every second, which is the precision of survived gaps, until the guard is dropped. A scan takes about a
    /// microsecond for each open file.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(self) -> std::io::Result<PeriodicScan> {
        every_second("sampler", EVIDENCE, move || match self.0.run() {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!("survived idle gaps are no longer measured: {error}");
                false
            }
        })
    }
}
