//! The running capture: attaches the programs, reads the ring, and passes each record through the stages to a named event.

mod attachment;
mod backoff;
mod event_loop;
mod lost_netns;
pub mod settings;

pub use attachment::Attachment;
pub use event_loop::Capture;
