//! The eBPF object, built by `cargo xtask ebpf` and committed with the hash of its sources.

/// The ELF object, aligned as its parser requires.
pub static BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/rstwatch.bpf.o"));

/// sha256 of the object, in hexadecimal.
pub const SHA256: &str = env!("RSTWATCH_OBJECT_SHA256");

/// The source revision of this build, or `unknown`.
pub const REVISION: &str = env!("RSTWATCH_REVISION");
