//! One entry of a section.

use rstwatch_verdict::escape::printable;
use rstwatch_verdict::text::wrap;

use super::WIDTH;

/// A mark in the margin, such as a number, and text that is wrapped beside it.
pub(super) struct Line {
    mark: String,
    text: String,
}

impl Line {
    /// An entry with a mark. Unprintable characters of the text are escaped.
    pub(super) fn new(mark: String, text: &str) -> Self {
        Self { mark, text: printable(text).into_owned() }
    }

    /// An entry without a mark.
    pub(super) fn unmarked(text: &str) -> Self {
        Self::new(String::new(), text)
    }

    /// The entry, wrapped and indented.
    pub(super) fn text(&self) -> String {
        let indent = " ".repeat(2 + if self.mark.is_empty() { 0 } else { self.mark.chars().count() + 2 });
        let mut wrapped = wrap(&self.text, &indent, WIDTH);
        wrapped.replace_range(..indent.len(), &format!("{:1$}", format!("  {}", self.mark), indent.len()));
        wrapped
    }
}
