//! The running kernel, and whether this machine is one of the lab's VMs.

/// Set by `cargo xtask vm`, which emulates the whole machine.
const IN_VM: &str = "RSTWATCH_LAB_VM";

/// Whether the lab may change settings of the whole machine.
pub(crate) fn is_ours() -> bool {
    std::env::var_os(IN_VM).is_some()
}

/// Its release, as in `uname -r`.
pub(crate) struct Kernel(String);

impl Kernel {
    pub(crate) fn running() -> Self {
        Self(rustix::system::uname().release().to_string_lossy().into_owned())
    }

    /// A kernel that a recording names.
    pub(crate) fn named(release: &str) -> Self {
        Self(release.to_owned())
    }

    pub(crate) fn release(&self) -> &str {
        &self.0
    }

    /// Whether it is that version or a later one.
    pub(crate) fn since(&self, (major, minor): (u32, u32)) -> bool {
        let mut numbers = self.0.split(|c: char| !c.is_ascii_digit()).map_while(|word| word.parse::<u32>().ok());
        let have = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        have >= (major, minor)
    }

    /// Whether it gives reasons for active resets.
    pub(crate) fn gives_reasons(&self) -> bool {
        self.since((6, 12))
    }
}

#[cfg(test)]
mod tests {
    use super::Kernel;

    #[test]
    fn compares_by_number() {
        let kernel = Kernel("6.9.12-cloud-amd64".to_owned());
        assert!(kernel.since((6, 9)) && kernel.since((5, 10)) && !kernel.since((6, 10)));
        assert!(Kernel("7.0-rc1".to_owned()).since((6, 12)));
    }
}
