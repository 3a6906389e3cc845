//! The room that is kept on the disk of the state directory: below it no job is started any more.
//!
//! Whoever fills a disk to its last block finds out in the middle of something. A new job is the one thing that can wait without harm, so
//! those who run keep what is left.

use std::path::Path;

use tonic::Code;

use crate::problem::Problem;

/// Kept where nobody has said how much, in bytes, if that is not more than a part of the whole disk.
const USUAL: u64 = 256 << 20;
const PART: u64 = 100;

/// Nothing, if the disk of `dir` has at least `floor` bytes left, or the usual ones where that is `None`.
///
/// # Errors
/// `NO_SPACE`, with both figures. A disk that cannot be asked is none of our business here: whatever is written next tells.
pub(crate) fn check(dir: &Path, floor: Option<u64>) -> Result<(), Problem> {
    let Ok(disk) = rustix::fs::statvfs(dir) else {
        return Ok(());
    };
    let left = disk.f_bavail.saturating_mul(disk.f_frsize);
    let whole = disk.f_blocks.saturating_mul(disk.f_frsize);
    let floor = floor.unwrap_or_else(|| USUAL.min(whole / PART));
    if left >= floor {
        return Ok(());
    }
    let message = format!(
        "the disk of {} has {left} bytes left, and no job is started below {floor}",
        dir.display()
    );
    Err(Problem::new(Code::ResourceExhausted, "NO_SPACE", message).with("path", dir.display()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check;

    #[test]
    fn below_the_floor_nothing_begins() {
        let temp = tempfile::tempdir().unwrap();
        check(temp.path(), Some(0)).unwrap();
        let refused = check(temp.path(), Some(u64::MAX)).unwrap_err();
        assert_eq!(refused.reason, "NO_SPACE");
        check(Path::new("/nowhere/at/all"), Some(u64::MAX)).unwrap();
    }
}
