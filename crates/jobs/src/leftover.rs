//! What is left of a start that came to nothing before there was a job.
//!
//! A starter makes the directory and the journal, locks that, and writes the spec. Killed in between, it leaves a directory without a
//! spec, or one whose spec is torn, as a failing power may, for the spec is made durable only together with the claim. No claim means that
//! nothing ran, and without a spec there is nothing to be told of such a directory, so it is deleted. It may still become a job in the
//! hands of a starter that lives: that one holds the lock, or has made the directory a moment ago.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use legwork_shim::{layout, lock};

use crate::job_dir::{JobDir, modified_ms};
use crate::remove;

/// How long nobody may have touched a directory that is deleted.
const AGE_MS: u64 = 60_000;

/// Deletes a directory that no job will come of, if it is one and old. What cannot be deleted now is for the next time.
pub(crate) fn clear(jobs: &Path, name: &OsStr, now_ms: u64) {
    let dir = JobDir {
        path: jobs.join(name),
    };
    if is_old(&dir.path, now_ms) && dir.is_leftover() {
        delete(jobs, &dir, name).unwrap_or(());
    }
}

fn is_old(dir: &Path, now_ms: u64) -> bool {
    fs::symlink_metadata(dir)
        .is_ok_and(|found| found.is_dir() && modified_ms(&found) + AGE_MS <= now_ms)
}

fn delete(jobs: &Path, dir: &JobDir, name: &OsStr) -> io::Result<()> {
    let held = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.path.join(layout::JOURNAL))?;
    // Whoever waits to start it takes another turn, and makes a new directory.
    if lock::acquire(&held)? && dir.is_leftover() {
        let aside = remove::aside(jobs, name);
        fs::rename(&dir.path, &aside)?;
        fs::remove_dir_all(aside)?;
    }
    Ok(())
}
