//! Small regular files, read without blocking on a FIFO or a device.
//!
//! The web configuration and everything it names are read this way, also at a reload; an exporter can read its own
//! configuration file in the same way.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Size limit of a file, in bytes.
pub const MAX: u64 = 1 << 20;

/// Opens a regular file for reading. A FIFO or a device is rejected without blocking.
///
/// # Errors
/// If the file cannot be opened, or is not a regular file.
pub fn open(path: &Path) -> Result<File, Error> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(Error::new(ErrorKind::InvalidInput, "not a regular file")) }
}

/// Reads a whole file.
///
/// # Errors
/// As [`open`]; also if the file is larger than [`MAX`] or cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_regular_files_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let (small, large) = (folder.path().join("small"), folder.path().join("large"));
        std::fs::write(&small, "text").expect("written");
        std::fs::write(&large, vec![0; 2 << 20]).expect("written");
        assert_eq!(read(&small).expect("read"), b"text");
        let kind = |path: &Path| read(path).map_err(|error| error.kind());
        assert_eq!(kind(&large), Err(ErrorKind::FileTooLarge));
        assert_eq!(kind(Path::new("/dev/zero")), Err(ErrorKind::InvalidInput));
        assert_eq!(kind(&folder.path().join("missing")), Err(ErrorKind::NotFound));
    }

    #[test]
    fn a_fifo_does_not_block() {
        let folder = tempfile::tempdir().expect("folder");
        let fifo = folder.path().join("fifo");
        let (mode, kind) = (rustix::fs::Mode::RUSR, rustix::fs::FileType::Fifo);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).expect("made");
        assert_eq!(read(&fifo).map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
    }
}
