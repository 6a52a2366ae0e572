//! Links, paths, names and anchors of a Markdown file.

use std::collections::BTreeSet;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A link or an image.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) line: usize,
    pub(super) to: String,
}

/// One Markdown file.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) links: Vec<Link>,
    /// Paths in code spans, such as `deploy/systemd`, with their lines.
    pub(super) paths: Vec<(usize, String)>,
    /// Anchors of its headings.
    pub(super) anchors: BTreeSet<String>,
    /// Identifiers in code spans, each with the title of its section.
    names: Vec<(String, String)>,
}

impl Page {
    pub(super) fn read(text: &str) -> Self {
        let mut page = Self::default();
        // The text of the heading that is being read.
        let mut heading: Option<String> = None;
        let mut section = String::new();
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = text[..range.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    section = heading.take().unwrap_or_default();
                    page.anchor(&section);
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(Link { line, to: dest_url.into_string() });
                }
                Event::Code(code) => {
                    page.code(line, &section, &code);
                    heading.iter_mut().for_each(|heading| *heading += &code);
                }
                Event::Text(text) => heading.iter_mut().for_each(|heading| *heading += &text),
                _ => (),
            }
        }
        page
    }

    /// The names of functions below a heading, in code spans of three words or more.
    pub(super) fn names_below<'a>(&'a self, heading: &'a str) -> impl Iterator<Item = &'a str> {
        self.names.iter().filter(move |(section, _)| section == heading).map(|(_, name)| &**name)
    }

    fn code(&mut self, line: usize, section: &str, code: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if code.contains('/') && code.chars().all(plain) {
            self.paths.push((line, code.to_owned()));
        }
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if code.matches('_').count() >= 2 && code.chars().all(word) {
            self.names.push((section.to_owned(), code.to_owned()));
        }
    }

    /// Adds the anchor that GitHub generates: lower case, without punctuation, spaces as hyphens, and with a number if it exists
    /// already.
    fn anchor(&mut self, heading: &str) {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase();
        let numbered = (1..).map(|n| format!("{anchor}-{n}"));
        let free = std::iter::once(anchor.clone()).chain(numbered).find(|anchor| !self.anchors.contains(anchor));
        self.anchors.extend(free);
    }
}
