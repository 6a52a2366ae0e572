//! The files of the status page. They are embedded in the program, so the page loads nothing from other hosts.

use std::fmt::Write as _;

use axum::Router;
use axum::http::header;
use axum::routing::{MethodRouter, get};
use rstwatch_verdict::cause::{Colour, Entry, TABLE};

/// Path of the files; no other route is below it.
pub(super) const FOLDER: &str = "/page/";

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Embeds a file of the folder `page`, which is served under the same name.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        (concat!("/page/", $name), $kind, include_str!(concat!("page/", $name)))
    };
}

/// Path, content type and text of each file.
const FILES: [(&str, &str, &str); 13] = [
    file!("icon.svg", SVG),
    file!("page.css", CSS),
    file!("page.js", JS),
    file!("dom.js", JS),
    file!("format.js", JS),
    file!("filter.js", JS),
    file!("live.js", JS),
    file!("verdicts.js", JS),
    file!("chart.js", JS),
    file!("idle.js", JS),
    file!("panels.js", JS),
    file!("vendor/uplot/uPlot.iife.min.js", JS),
    file!("vendor/uplot/uPlot.min.css", CSS),
];

/// Adds a route for each file.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let router = router.route(CAUSES, get(|| async { ([(header::CONTENT_TYPE, CSS)], causes_css()) }));
    FILES.iter().fold(router, |router, (path, kind, text)| router.route(path, file(kind, text)))
}

/// Path of the stylesheet that is generated from the table of causes: the colour of each, in light and dark schemes.
const CAUSES: &str = "/page/causes.css";

fn causes_css() -> String {
    let scheme = |colour: fn(&Colour) -> &'static str| {
        let property = |entry: &Entry| format!("--cause-{}: {};", entry.cause, colour(&entry.colour));
        format!(":root {{ {} }}", TABLE.iter().map(property).collect::<Vec<_>>().join(" "))
    };
    let (light, dark) = (scheme(|colour| colour.light), scheme(|colour| colour.dark));
    let mut css = format!("{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n");
    for Entry { cause, .. } in TABLE {
        _ = writeln!(css, "[data-cause=\"{cause}\"] {{ --cause: var(--cause-{cause}) }}");
    }
    css
}

fn file<S: Clone + Send + Sync + 'static>(kind: &'static str, text: &'static str) -> MethodRouter<S> {
    get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstwatch_verdict::cause::Cause;

    #[test]
    fn files_load_nothing_from_other_hosts() {
        for (path, kind, text) in FILES {
            assert!(path.starts_with(FOLDER), "{path}");
            let fetched = ["import(", "url(", "@import", "src=", "from \"http", "from '/", "from \"/"];
            let ours = !path.contains("/vendor/");
            assert!(!ours || kind == SVG || !fetched.iter().any(|word| text.contains(word)), "{path}");
            assert!(!ours || !["innerHTML", "outerHTML", "insertAdjacentHTML"].iter().any(|word| text.contains(word)));
        }
    }

    #[test]
    fn each_cause_has_a_colour_in_both_schemes() {
        let colours = causes_css();
        for cause in Cause::ALL {
            assert_eq!(colours.matches(&format!(" --cause-{cause}: #")).count(), 2, "{cause}");
            let named = format!("[data-cause=\"{cause}\"] {{ --cause: var(--cause-{cause}) }}");
            assert!(colours.contains(&named), "{cause}");
        }
    }

    #[test]
    fn addresses_are_relative_so_that_a_path_prefix_works() {
        let ours = FILES.iter().filter(|(path, ..)| !path.contains("/vendor/")).map(|(_, _, text)| *text);
        for text in ours.chain([include_str!("page/index.html")]) {
            assert!(!["=\"/", "\"/api", "`/api", "\"/page"].iter().any(|absolute| text.contains(absolute)));
        }
    }

    #[test]
    fn the_template_refers_only_to_files_that_exist() {
        let template = include_str!("page/index.html");
        let named = template.split('"').filter(|word| word.starts_with("page/"));
        let served = |name: &str| CAUSES[1..] == *name || FILES.iter().any(|(path, ..)| path[1..] == *name);
        let missing: Vec<_> = named.filter(|name| !served(name)).collect();
        assert!(missing.is_empty() && template.contains("\"page/page.js\""), "{missing:?}");
    }
}
