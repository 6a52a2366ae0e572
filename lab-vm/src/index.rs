//! What the package index says of kernels.

use super::version;

/// A package, of which there may be several versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// Names of packages that it depends on, alternatives included.
    depends: Vec<String>,
}

impl Package {
    /// What apt is to download: this version and no other.
    pub(super) fn exactly(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// The packages that hold the kernel. In newer ones the image is an empty package
    /// that depends on its parts.
    pub(super) fn parts(&self) -> Vec<String> {
        let is_part = |name: &&String| name.starts_with("linux-binary-") || name.starts_with("linux-modules-");
        let parts = self.depends.iter().filter(is_part).map(|name| format!("{name}={}", self.version));
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() { vec![self.exactly()] } else { parts }
    }

    /// What `uname -r` will say.
    pub(super) fn release(&self) -> &str {
        self.name.strip_prefix(IMAGE).unwrap_or(&self.name)
    }
}

const IMAGE: &str = "linux-image-";
const CLOUD: &str = "-cloud-amd64";

/// Whether a package name is that of a bootable kernel of a line, such as "6.12" or "7".
pub(super) fn is_image_of(name: &str, line: &str) -> bool {
    let Some(rest) = name.strip_prefix(IMAGE).and_then(|rest| rest.strip_suffix(CLOUD)) else {
        return false;
    };
    // Names that only say the line are meta packages: their kernel has its own. And a
    // rebuild for an older release is no other kernel than its own release's.
    rest.strip_prefix(line).is_some_and(|rest| rest.starts_with('.')) && !rest.contains("-0.deb")
}

/// Reads the stanzas that `apt-cache show` prints.
pub(super) fn parse(stanzas: &str) -> Vec<Package> {
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

/// The kernels of a line, the newest first: the index may name one that is gone.
pub(super) fn newest_first(mut images: Vec<Package>, line: &str) -> Vec<Package> {
    images.retain(|image| is_image_of(&image.name, line));
    images.sort_by(|a, b| version::compare(&b.version, &a.version).then_with(|| a.name.cmp(&b.name)));
    images.dedup();
    images
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
    fn the_newest_of_a_line_comes_first() {
        let of = |line| newest_first(parse(INDEX), line).iter().map(|p| p.release().to_owned()).collect::<Vec<_>>();
        assert_eq!(of("6.12"), ["6.12.117+deb13-cloud-amd64", "6.12.9+deb13-cloud-amd64"]);
        assert_eq!(of("7"), ["7.3.4+deb13-cloud-amd64"]);
        assert!(of("6.1").is_empty());
    }

    #[test]
    fn an_empty_image_is_taken_by_its_parts() {
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
    fn only_signed_kernels_of_the_line_itself() {
        assert!(is_image_of("linux-image-6.1.0-50-cloud-amd64", "6.1"));
        assert!(!is_image_of("linux-image-6.1-cloud-amd64", "6.1"));
        assert!(!is_image_of("linux-image-6.1.0-0.deb11.52-cloud-amd64", "6.1"));
        assert!(!is_image_of("linux-image-6.12.9+deb13-cloud-amd64", "6.1"));
        assert!(!is_image_of("linux-image-6.1.0-50-cloud-amd64-dbg", "6.1"));
        assert!(!is_image_of("linux-image-6.1.0-50-cloud-amd64-unsigned", "6.1"));
        assert!(!is_image_of("linux-image-6.1.0-50-rt-amd64", "6.1"));
    }
}
