//! Files that people write: small, regular, and read without waiting.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Largest file that is read, in bytes.
pub const MAX: u64 = 1 << 20;

/// Opens a file for reading. A FIFO or a device is refused, and does not block.
///
/// # Errors
/// If it cannot be opened, or is no regular file.
pub fn open(path: &Path) -> Result<File, Error> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(Error::new(ErrorKind::InvalidInput, "not a file")) }
}

/// What a file holds.
///
/// # Errors
/// Those of [`open`], if it is larger than [`MAX`], or if it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {MAX} bytes")));
    }
    Ok(bytes)
}
