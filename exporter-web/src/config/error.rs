//! What is wrong with a configuration, in one line.

use std::path::Path;

use serde_saphyr::Spanned;

/// Why a web configuration cannot be used: one printable line that names the file and, where known, the line in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// An error in these words.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// An invalid value, and the line it is written in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    /// None where no single line is wrong.
    pub(super) line: Option<u64>,
    /// What is wrong and what to write instead.
    pub(super) message: String,
}

impl Invalid {
    /// Wrong in the file as a whole.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into() }
    }

    /// Wrong at a value.
    pub(super) fn at<T>(value: &Spanned<T>, message: impl Into<String>) -> Self {
        Self { line: Some(value.referenced.line()), message: message.into() }
    }

    /// With the file's name in front.
    pub(super) fn in_file(self, path: &Path) -> ConfigError {
        let (path, message) = (path.display(), printable(&self.message));
        ConfigError(match self.line {
            Some(line) => format!("{path}:{line}: {message}"),
            None => format!("{path}: {message}"),
        })
    }
}

/// Escapes control characters, and those that reorder or hide text: part of the message was written by others.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_printable_line() {
        let error = Invalid { line: Some(2), message: "\"a\\b\" \x1b[31m\n\u{202e}caf\u{e9}".into() };
        assert_eq!(
            error.in_file(Path::new("web.yml")).to_string(),
            "web.yml:2: \"a\\b\" \\u{1b}[31m\\n\\u{202e}caf\u{e9}"
        );
        assert_eq!(Invalid::new("empty").in_file(Path::new("web.yml")).to_string(), "web.yml: empty");
    }
}
