//! The kernel's refusal in a few words.

use aya::programs::ProgramError;

/// The system call's error, without aya's account of it. That goes to the debug log.
pub(super) fn brief(probe: &str, error: &anyhow::Error) -> String {
    tracing::debug!(probe, "{error:#}");
    let io_error = error.chain().find_map(|cause| match cause.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { io_error, .. }) => Some(io_error),
        Some(ProgramError::SyscallError(error)) => Some(&error.io_error),
        _ => cause.downcast_ref::<std::io::Error>(),
    });
    match io_error {
        Some(error) => format!("the kernel refuses: {error}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn only_the_system_calls_error_is_shown() {
        let denied = || std::io::Error::from_raw_os_error(libc::EPERM);
        let syscall = SyscallError { call: "bpf_prog_load", io_error: denied() };
        let refused = "the kernel refuses: Operation not permitted (os error 1)";
        assert_eq!(brief("p", &ProgramError::SyscallError(syscall).into()), refused);
        let wrapped = Err::<(), _>(denied()).context("attaching").expect_err("an error");
        assert_eq!(brief("p", &wrapped), refused);
        assert_eq!(brief("p", &anyhow::anyhow!("cgroup v2 is not mounted")), "cgroup v2 is not mounted");
    }
}
