//! What a VM hands out through its last serial port: whole files, then how the command
//! ended. What is cut off is told from what is complete.

use std::io::{self, Write};

use anyhow::{Context, Result, ensure};

/// All that a VM handed out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Names and contents.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// The command's exit code; none when the VM did not come that far.
    pub(super) exit: Option<i32>,
}

/// Hands out a file.
pub(super) fn send_file(to: &mut impl Write, name: &str, contents: &[u8]) -> io::Result<()> {
    writeln!(to, "file {} {name}", contents.len())?;
    to.write_all(contents)
}

/// Hands out the end.
pub(super) fn send_exit(to: &mut impl Write, code: i32) -> io::Result<()> {
    writeln!(to, "exit {code}")
}

/// Reads all that was handed out.
pub(super) fn read(mut bytes: &[u8]) -> Result<Delivery> {
    let mut delivery = Delivery::default();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (head, rest) = bytes.split_at(end);
        let head = str::from_utf8(head).context("a VM handed out what is no header")?;
        bytes = rest.get(1..).unwrap_or_default();
        let words: Vec<_> = head.splitn(3, ' ').collect();
        match words.as_slice() {
            ["exit", code] => delivery.exit = Some(code.parse()?),
            ["file", size, name] => {
                let size: usize = size.parse()?;
                ensure!(bytes.len() >= size, "the VM ended while it handed out {name}");
                let (contents, rest) = bytes.split_at(size);
                delivery.files.push(((*name).to_owned(), contents.to_vec()));
                bytes = rest;
            }
            _ => anyhow::bail!("a VM handed out {head:?}"),
        }
    }
    Ok(delivery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read() {
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
    fn a_cut_delivery_is_no_delivery() {
        assert_eq!(read(b"").unwrap(), Delivery::default());
        assert!(read(b"file 10 results.json\nabc").is_err());
        assert!(read(b"noise\n").is_err());
        assert_eq!(read(b"exit 0").unwrap().exit, None);
    }
}
