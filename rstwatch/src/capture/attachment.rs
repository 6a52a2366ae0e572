//! Loads and attaches the programs. Needs privileges but no async runtime; the event loop needs the opposite.

use rstwatch_verdict::known_timeouts;

use super::settings::CaptureSettings;
use crate::kernel::attach::attach;
use crate::kernel::attached::Attached;
use crate::kernel::memory::Tables;
use crate::kernel::probe::Probes;
use crate::kernel::scope::Scope;
use crate::kernel::settings::Limits;

/// The attached programs. They write records to the ring, which [`Capture`](super::Capture) then reads.
pub struct Attachment {
    pub(super) attached: Attached,
    pub(super) scope: Scope,
}

impl Attachment {
    /// Resolves the scope, then loads and attaches the programs.
    ///
    /// # Errors
    ///
    /// If a path in the settings cannot be resolved, privileges are missing, or the kernel lacks a required feature.
    pub fn new(settings: &CaptureSettings) -> anyhow::Result<Self> {
        known_timeouts::install(&settings.timeouts);
        let scope = Scope::resolve(&settings.netns, settings.cgroup.as_deref())?;
        let limits = Limits {
            connections: Tables::new(settings.connection_limit).announced().connections,
            ring_bytes: settings.ring_buffer_bytes,
            rate: settings.detail_rate_per_second,
            burst: settings.detail_burst,
        };
        let attached = attach(&scope, &limits)?;
        // Parsing BTF needed about ten times the memory that remains in use.
        trim_heap();
        Ok(Self { attached, scope })
    }

    /// The hooks and how each is attached.
    pub fn probes(&self) -> &Probes {
        &self.attached.probes
    }
}

/// Returns freed heap memory to the kernel. After a short peak, such as parsing the kernel's BTF, glibc would keep it.
fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: glibc's malloc_trim(3) may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
