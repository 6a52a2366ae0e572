//! Selects kernels in apt's package index.

use std::cmp::Ordering;
use std::process::Command;

/// One version of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Names of its dependencies, alternatives included.
    depends: Vec<String>,
}

impl Package {
    /// This version in apt's `NAME=VERSION` form.
    pub(crate) fn exactly(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// The packages that hold the kernel. Newer images are empty packages that depend on their parts.
    pub(crate) fn parts(&self) -> Vec<String> {
        let is_part = |name: &&String| name.starts_with("linux-binary-") || name.starts_with("linux-modules-");
        let parts = self.depends.iter().filter(is_part).map(|name| format!("{name}={}", self.version));
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() { vec![self.exactly()] } else { parts }
    }

    /// The kernel's release, as in `uname -r`.
    pub(crate) fn release(&self) -> &str {
        self.name.strip_prefix(IMAGE).unwrap_or(&self.name)
    }
}

const IMAGE: &str = "linux-image-";
const CLOUD: &str = "-cloud-amd64";

/// Whether a package holds a bootable kernel of a series, such as "6.12" or "7".
pub(crate) fn is_image_of(name: &str, series: &str) -> bool {
    let Some(rest) = name.strip_prefix(IMAGE).and_then(|rest| rest.strip_suffix(CLOUD)) else {
        return false;
    };
    // Names with nothing but the series are metapackages. Rebuilds for older releases are the same kernel again.
    rest.strip_prefix(series).is_some_and(|rest| rest.starts_with('.')) && !rest.contains("-0.deb")
}

/// Parses the stanzas of `apt-cache show`.
pub(crate) fn parse(stanzas: &str) -> Vec<Package> {
    stanzas.split("\n\n").filter_map(stanza).collect()
}

fn stanza(text: &str) -> Option<Package> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let names = field("Depends").unwrap_or_default().split([',', '|']);
    let names = names.filter_map(|name| name.split_whitespace().next().map(str::to_owned));
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        depends: names.collect(),
    })
}

/// The kernels of a series, the newest first.
pub(crate) fn newest_first(mut images: Vec<Package>, series: &str) -> Vec<Package> {
    images.retain(|image| is_image_of(&image.name, series));
    images.sort_by(|a, b| compare(&b.version, &a.version).then_with(|| a.name.cmp(&b.name)));
    images.dedup();
    images
}

/// Compares two versions as dpkg does (deb-version(7)).
fn compare(a: &str, b: &str) -> Ordering {
    let holds = |relation: &str| {
        let mut dpkg = Command::new("dpkg");
        dpkg.args(["--compare-versions", a, relation, b]).status().is_ok_and(|status| status.success())
    };
    if holds("lt") {
        Ordering::Less
    } else if holds("gt") {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "\
Package: linux-image-6.12.9+deb13-cloud-amd64
Version: 6.12.9-1
Depends: kmod, initramfs-tools (>= 0.120) | linux-initramfs-tool
Description: a kernel
 with a second line

Package: linux-image-6.12.117+deb13-cloud-amd64
Version: 6.12.117-1
Depends: kmod

Package: linux-image-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: dracut | initramfs-tools, linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), \
linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)
";

    #[test]
    fn newest_of_a_series_comes_first() {
        let of = |series| newest_first(parse(INDEX), series).iter().map(|p| p.release().to_owned()).collect::<Vec<_>>();
        assert_eq!(of("6.12"), ["6.12.117+deb13-cloud-amd64", "6.12.9+deb13-cloud-amd64"]);
        assert_eq!(of("7"), ["7.3.4+deb13-cloud-amd64"]);
        assert!(of("6.1").is_empty());
    }

    #[test]
    fn orders_as_dpkg_does() {
        let rising = [
            "5.10.9-1",
            "5.10.46-1",
            "6.1.176-1~deb11u1",
            "6.1.176-1",
            "6.12.9-1",
            "6.12.117-1",
            "7.3.4-1~bpo13+1",
            "7.3.4-1",
            "7.3.4a-1",
            "7.3.4+1-1",
            "1:1.0",
        ];
        for pair in rising.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.0-1", "1.0-1"), Ordering::Equal);
        assert_eq!(compare("1.007-1", "1.7-1"), Ordering::Equal);
    }

    #[test]
    fn fetches_the_parts_of_an_empty_image() {
        let images = parse(INDEX);
        assert_eq!(images[0].parts(), ["linux-image-6.12.9+deb13-cloud-amd64=6.12.9-1"]);
        assert_eq!(
            images[2].parts(),
            [
                "linux-binary-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1",
                "linux-modules-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1"
            ]
        );
    }

    #[test]
    fn selects_only_signed_kernels_of_the_series() {
        assert!(is_image_of("linux-image-6.1.0-50-cloud-amd64", "6.1"));
        assert!(!is_image_of("linux-image-6.1-cloud-amd64", "6.1"));
        assert!(!is_image_of("linux-image-6.1.0-0.deb11.52-cloud-amd64", "6.1"));
        assert!(!is_image_of("linux-image-6.12.9+deb13-cloud-amd64", "6.1"));
        assert!(!is_image_of("linux-image-6.1.0-50-cloud-amd64-dbg", "6.1"));
        assert!(!is_image_of("linux-image-6.1.0-50-cloud-amd64-unsigned", "6.1"));
        assert!(!is_image_of("linux-image-6.1.0-50-rt-amd64", "6.1"));
    }
}
