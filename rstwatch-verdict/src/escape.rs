//! Escapes strings from outside (command names, pod names, kernel names) for their destination.

use std::borrow::Cow;
use std::fmt::Write;

/// For a terminal or a log: escapes control characters, and characters that reorder or break the line.
///
/// Otherwise a process could move the cursor, forge a line or hide text by its name.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if unprintable(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

fn unprintable(c: char) -> bool {
    c.is_control()
        // Line and paragraph separators, directional marks, embeddings and isolates, byte-order mark.
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// For HTML, in text and in quoted attributes.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in printable(text).chars() {
        match c {
            '<' | '>' | '&' | '"' | '\'' => _ = write!(out, "&#{};", u32::from(c)),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_cannot_be_controlled() {
        let cases = [
            ("orders-api", "orders-api"),
            ("caf\u{e9}", "caf\u{e9}"),
            ("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("a\u{9b}2Jb", "a\\u{9b}2Jb"),
            ("evil\u{202e}txt.exe", "evil\\u{202e}txt.exe"),
            ("two\u{2028}lines", "two\\u{2028}lines"),
        ];
        for (outside, shown) in cases {
            assert_eq!(printable(outside), shown);
        }
    }

    #[test]
    fn markup_cannot_be_injected() {
        assert_eq!(html("<b onclick=\"x('&')\">"), "&#60;b onclick=&#34;x(&#39;&#38;&#39;)&#34;&#62;");
        assert_eq!(html("\x1b<"), "\\u{1b}&#60;");
    }
}
