//! Debian's mirror, as configured in the machine's apt. It also has the suites that the machine does not use.

use std::path::Path;
use std::process::Command;

use dev_support::command;

/// The keys of Debian's archive. apt refuses packages that they did not sign.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's releases, as sources name them.
const RELEASES: [&str; 12] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
];

/// Suites with kernels: old ones stay in their release, new ones arrive in backports and in sid.
const SUITES: [&str; 4] = ["bookworm", "trixie", "trixie-backports", "sid"];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];

/// Addresses of the archive and of its security part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mirror {
    main: Option<String>,
    security: Option<String>,
}

impl Mirror {
    /// The mirror that this machine uses; `None` if it is not Debian.
    pub(crate) fn of_this_machine() -> Option<Self> {
        let format = "$(RELEASE) $(REPO_URI)";
        let mut targets = Command::new("apt-get");
        targets.args(["indextargets", "--format", format, "Created-By: Packages"]);
        let mirror = Self::parse(&command::stdout(&mut targets)?);
        mirror.main.is_some().then_some(mirror)
    }

    /// Parses lines of "release address".
    fn parse(targets: &str) -> Self {
        let mut mirror = Self::default();
        let pairs = targets.lines().filter_map(|line| line.trim().split_once(' '));
        for (release, address) in pairs {
            let name = release.split(['-', '/']).next().unwrap_or_default();
            if !RELEASES.contains(&name) {
                continue;
            }
            let secure = release.ends_with("-security") || release.ends_with("/updates");
            let place = if secure { &mut mirror.security } else { &mut mirror.main };
            place.get_or_insert_with(|| address.to_owned());
        }
        mirror
    }

    /// A sources.list with all suites that have kernels.
    pub(crate) fn sources(&self) -> String {
        let signed = if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let line = |address: &str, suite: &str| format!("deb {signed}{address} {suite} main\n");
        let main = self.main.iter().flat_map(|at| SUITES.map(|suite| line(at, suite)));
        let security = self.security.iter().flat_map(|at| SECURITY_SUITES.map(|suite| line(at, suite)));
        main.chain(security).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_the_archive_and_its_security_part() {
        let targets = "nodistro https://other.example/node/\n\
                       bookworm http://mirror.example/debian/\n\
                       bookworm-updates http://second.example/debian/\n\
                       bookworm-security http://mirror.example/security/\n";
        let mirror = Mirror::parse(targets);
        assert_eq!(mirror.main.as_deref(), Some("http://mirror.example/debian/"));
        assert_eq!(mirror.security.as_deref(), Some("http://mirror.example/security/"));
        let sources = mirror.sources();
        assert!(sources.contains("http://mirror.example/debian/ sid main"), "{sources}");
        assert!(sources.contains("http://mirror.example/security/ bullseye-security main"), "{sources}");
    }

    #[test]
    fn rejects_other_distributions() {
        assert_eq!(Mirror::parse("noble http://mirror.example/ubuntu/\n"), Mirror::default());
    }
}
