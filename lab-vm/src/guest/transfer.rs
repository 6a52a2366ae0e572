//! The protocol on the VM's last serial port: files with their sizes, then the command's exit code. A transfer that was cut
//! off is an error, or has no exit code.

use std::io::{self, Write};

use anyhow::{Context, Result, ensure};

/// Everything that a VM sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Names and contents.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// The command's exit code; `None` if the VM ended earlier.
    pub(crate) exit: Option<i32>,
}

/// Sends a file.
pub(crate) fn send_file(to: &mut impl Write, name: &str, contents: &[u8]) -> io::Result<()> {
    writeln!(to, "file {} {name}", contents.len())?;
    to.write_all(contents)
}

/// Sends the exit code, which ends the transfer.
pub(crate) fn send_exit(to: &mut impl Write, code: i32) -> io::Result<()> {
    writeln!(to, "exit {code}")
}

/// Parses a transfer.
pub(crate) fn read(mut bytes: &[u8]) -> Result<Transfer> {
    let mut transfer = Transfer::default();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (head, rest) = bytes.split_at(end);
        let head = str::from_utf8(head).context("the VM's transfer has a header that is not UTF-8")?;
        bytes = rest.get(1..).unwrap_or_default();
        let words: Vec<_> = head.splitn(3, ' ').collect();
        match words.as_slice() {
            ["exit", code] => transfer.exit = Some(code.parse()?),
            ["file", size, name] => {
                let size: usize = size.parse()?;
                ensure!(bytes.len() >= size, "the VM ended while it sent {name}");
                let (contents, rest) = bytes.split_at(size);
                transfer.files.push(((*name).to_owned(), contents.to_vec()));
                bytes = rest;
            }
            _ => anyhow::bail!("the VM's transfer has an unknown header: {head:?}"),
        }
    }
    Ok(transfer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_was_sent() {
        let mut wire = Vec::new();
        send_file(&mut wire, "results.json", b"{}\nexit 0\n").unwrap();
        send_file(&mut wire, "empty", b"").unwrap();
        send_exit(&mut wire, 3).unwrap();
        let got = read(&wire).unwrap();
        assert_eq!(got.exit, Some(3));
        assert_eq!(got.files[0], ("results.json".to_owned(), b"{}\nexit 0\n".to_vec()));
        assert_eq!(got.files[1], ("empty".to_owned(), Vec::new()));
    }

    #[test]
    fn rejects_a_truncated_transfer() {
        assert_eq!(read(b"").unwrap(), Transfer::default());
        assert!(read(b"file 10 results.json\nabc").is_err());
        assert!(read(b"noise\n").is_err());
        assert_eq!(read(b"exit 0").unwrap().exit, None);
    }
}
