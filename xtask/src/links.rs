//! Links in Markdown files: every relative target exists, every anchor is a heading, and every page is reachable.
//!
//! File names and test names in the documentation are checked too, so that moving or renaming them without updating the
//! documentation fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use dev_support::outcome::Outcome;
use dev_support::paths;

mod page;
mod tree;

use page::{Link, Page};

/// Where a reader starts.
const START: &str = "README.md";
/// Pages below this folder must be reachable from [`START`].
const PAGES: &str = "docs";
/// Sections with these titles name functions of the source, tests above all.
const SECTIONS: [&str; 2] = ["Invariants", "Consequences"];

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Outcome> {
    let problems = problems(&paths::root())?;
    if !problems.is_empty() {
        bail!("broken links and names:\n  {}", problems.join("\n  "));
    }
    Ok(Outcome::Passed)
}

/// One line for each problem in the Markdown files below `root`.
fn problems(root: &Path) -> Result<Vec<String>> {
    let files = tree::files(root)?;
    let mut pages = BTreeMap::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(root.join(file)).with_context(|| file.display().to_string())?;
        pages.insert(file.clone(), Page::read(&text));
    }
    let site = Site { root, pages };
    let mut problems: Vec<_> = site.pages.iter().flat_map(|(file, page)| site.broken(file, page)).collect();
    problems.extend(site.unreachable());
    problems.extend(site.missing_functions(&files)?);
    Ok(problems)
}

/// Every page, by its path below the root.
struct Site<'a> {
    root: &'a Path,
    pages: BTreeMap<PathBuf, Page>,
}

impl Site<'_> {
    fn broken(&self, file: &Path, page: &Page) -> Vec<String> {
        let links = page.links.iter().filter_map(|link| Some((link.line, self.why_broken(file, link)?)));
        let paths = page.paths.iter().filter(|(_, path)| self.is_missing(path));
        let paths = paths.map(|(line, path)| (*line, format!("no such file: `{path}`")));
        links.chain(paths).map(|(line, why)| format!("{}:{line}: {why}", file.display())).collect()
    }

    /// Why a link is broken; `None` if it is not, or if it leads to another host.
    fn why_broken(&self, file: &Path, link: &Link) -> Option<String> {
        let (path, anchor) = target(file, &link.to)?;
        let Some(path) = path else { return Some(format!("{}: outside the repository", link.to)) };
        if !self.root.join(&path).exists() {
            return Some(format!("{}: no such file", link.to));
        }
        match (anchor, self.pages.get(&path)) {
            (Some(anchor), Some(page)) if !page.anchors.contains(anchor) => {
                Some(format!("{}: no such heading", link.to))
            }
            _ => None,
        }
    }

    /// Whether a path in running text begins with a folder of the repository, and yet does not exist.
    fn is_missing(&self, path: &str) -> bool {
        let path = Path::new(path);
        let is_inside =
            path.components().next().is_some_and(|first| path.is_relative() && self.root.join(first).is_dir());
        let is_kept = path.ancestors().all(tree::is_kept);
        is_inside && is_kept && !self.root.join(path).exists()
    }

    /// Pages that no chain of links leads to.
    fn unreachable(&self) -> Vec<String> {
        let mut seen = BTreeSet::from([PathBuf::from(START)]);
        let mut next = vec![PathBuf::from(START)];
        while let Some(file) = next.pop() {
            let links = self.pages.get(&file).into_iter().flat_map(|page| &page.links);
            for path in links.filter_map(|link| target(&file, &link.to)?.0) {
                if seen.insert(path.clone()) {
                    next.push(path);
                }
            }
        }
        let lost = self.pages.keys().filter(|file| file.starts_with(PAGES) && !seen.contains(*file));
        lost.map(|file| format!("{}: no link leads here from {START}", file.display())).collect()
    }

    /// Functions that [`SECTIONS`] name and no source file defines.
    fn missing_functions(&self, files: &[PathBuf]) -> Result<Vec<String>> {
        let mut missing = BTreeSet::new();
        for (file, page) in &self.pages {
            let names = SECTIONS.iter().flat_map(|title| page.names_below(title));
            missing.extend(names.map(|name| (file, name)));
        }
        for source in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
            let text = fs::read_to_string(self.root.join(source)).with_context(|| source.display().to_string())?;
            missing.retain(|(_, name)| !text.contains(&format!("fn {name}(")));
        }
        Ok(missing.into_iter().map(|(file, name)| format!("{}: no function `{name}`", file.display())).collect())
    }
}

/// The file and anchor of a link in `file`. The file is `None` if it is outside the repository. Links to other hosts have no
/// target.
fn target<'a>(file: &Path, to: &'a str) -> Option<(Option<PathBuf>, Option<&'a str>)> {
    if to.contains("://") || to.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = to.split_once('#').map_or((to, None), |(path, anchor)| (path, Some(anchor)));
    let base = if path.is_empty() { file } else { file.parent().unwrap_or(Path::new("")) };
    Some((normalized(&base.join(path)), anchor))
}

/// Resolves `.` and `..`; `None` if the path leaves its root.
fn normalized(path: &Path) -> Option<PathBuf> {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => normalized.push(part),
            Component::CurDir => (),
            Component::ParentDir if normalized.pop() => (),
            _ => return None,
        }
    }
    Some(normalized)
}

#[cfg(test)]
mod tests;
