//! What an opener of a state directory chooses.

use std::path::PathBuf;
use std::sync::Arc;

use crate::launcher::Launcher;
use crate::limits::Cgroups;

/// Where a library object finds its jobs, and what it takes from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state directory. Made, for its owner only, when it is not there.
    pub state_dir: PathBuf,
    /// Where the directories of the jobs are, for instance on a shared file system.
    /// `None` means `jobs` in the state directory.
    pub jobs_dir: Option<PathBuf>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// This boot of the host. `None` means what the kernel says in `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
    /// Look for news by the clock only, every few milliseconds at first and four times a second in the end. Meant for file
    /// systems that other hosts write to and that do not look like it; those that do are polled anyhow.
    pub poll: bool,
    /// Where jobs get control groups of their own.
    pub cgroups: Cgroups,
    /// What starts shims and knows whether they live. `None` means processes of this host.
    pub launcher: Option<Arc<dyn Launcher>>,
}

impl Config {
    /// The usual choices on this state directory.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            jobs_dir: None,
            clock: Arc::new(SystemClock),
            boot_id: None,
            poll: false,
            cgroups: Cgroups::None,
            launcher: None,
        }
    }
}

/// Tells the time of day.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> u64;
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where the clock is made")]
    fn now_ms(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }
}
