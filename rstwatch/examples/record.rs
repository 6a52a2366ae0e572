//! Captures the raw ring records of this host to a file, for `tests/replay.rs` and bug reports. As root:
//! `cargo run --example record -- FILE SECONDS`.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use rstwatch::kernel::attach::attach;
use rstwatch::kernel::memory::DEFAULT_CONNECTIONS;
use rstwatch::kernel::scope::Scope;
use rstwatch::kernel::settings::Limits;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().context("usage: record FILE SECONDS")?;
    let seconds: u64 =
        args.next().context("usage: record FILE SECONDS")?.parse().context("SECONDS must be a whole number")?;
    let mut file = std::fs::File::create(&path).with_context(|| format!("cannot write {path}"))?;
    let limits = Limits { connections: DEFAULT_CONNECTIONS, ring_bytes: 1 << 22, rate: 1000, burst: 1000 };
    let mut attached = attach(&Scope::default(), &limits)?;
    eprintln!("recording for {seconds} s");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut written = 0;
    while Instant::now() < end {
        while let Some(entry) = attached.events.next() {
            file.write_all(&entry)?;
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("wrote {written} records to {path}");
    Ok(())
}
