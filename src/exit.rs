//! Exit codes: other people's scripts and timers rely on them.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// Something nobody foresaw.
    Unexpected = 1,
    /// A wrong command line or site file.
    Usage = 2,
    /// `plan`: there are changes.
    Changes = 3,
    /// AWS refused.
    Cloud = 4,
    /// A node failed.
    Host = 5,
    /// Interrupted; run again to resume.
    Interrupted = 6,
    /// Another run is at work.
    Locked = 7,
    /// A check failed.
    Check = 8,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
