//! Looks at every connection from time to time, by an iterator over the files of all tasks.

use super::walk::Walk;
use crate::looks::{Looking, every_second};

/// The probe's name.
pub const PROBE: &str = "task_file_looks";

/// The attached iterator. The program writes nothing; running it drives it through all sockets.
#[derive(Debug)]
pub struct Sampler(pub Walk);

impl Sampler {
    /// Looks every second, which is the precision of survived gaps, until the guard is dropped. A look takes about a
    /// microsecond for each open file.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(self) -> std::io::Result<Looking> {
        every_second("sampler", move || match self.0.run() {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!("survived idle gaps are no longer measured: {error}");
                false
            }
        })
    }
}
