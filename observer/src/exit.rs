//! Exit codes, one table for every command.
//!
//! 64 to 78 follow `sysexits.h`, so that a service unit can tell what a restart
//! cannot cure.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well; also when the reader closed the pipe.
    Success = 0,
    /// Something failed while running: a write, a map, a signal handler.
    Failure = 1,
    /// The command line was wrong (clap's own code).
    Usage = 2,
    /// This kernel lacks what is needed: too old, or no BTF (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The privileges do not suffice (`EX_NOPERM`).
    NoPermission = 77,
    /// The configuration was wrong (`EX_CONFIG`).
    Configuration = 78,
}

impl Exit {
    /// The number that the parent process sees.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn codes_are_those_that_the_service_unit_names() {
        let all =
            [Exit::Success, Exit::Failure, Exit::Usage, Exit::Unavailable, Exit::NoPermission, Exit::Configuration];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 69, 77, 78]);
    }
}
