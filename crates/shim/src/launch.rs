//! The claim of a launch: proof that the payload may have run.
//!
//! The shim writes it to the [`crate::journal`], makes that and its name durable, and only then lets
//! the payload exec. No such line therefore means *never ran*; the line with a free lock and no exit
//! record means *lost*. Process ids in it are for people and for `status`: liveness is the lock.

use alloc::string::String;

use serde::{Deserialize, Serialize};

/// The newest version of the record that this build writes and reads.
pub const VERSION: u32 = 1;

/// Who runs the job, where, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Newest version of the control protocol that this shim speaks.
    pub control: u16,
    /// `/proc/sys/kernel/random/boot_id` at the launch.
    pub boot_id: String,
    /// The shim's process id.
    pub shim_pid: u32,
    /// The main process's id, which is also its process group and session.
    pub pid: u32,
    /// Milliseconds since the epoch, just before the exec.
    pub started_at_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::Launch;

    #[test]
    fn the_record_is_pinned() {
        let json =
            r#"{"version":1,"control":1,"boot_id":"b","shim_pid":2,"pid":3,"started_at_ms":4}"#;
        let launch: Launch = serde_json::from_str(json).unwrap();
        assert_eq!((launch.shim_pid, launch.pid), (2, 3));
        assert_eq!(serde_json::to_string(&launch).unwrap(), json);
    }
}
