//! Writing to a job's standard input.

use crate::error::JobError;

/// A writer to a job's standard input, addressed by offset, so that after a lost connection the same bytes can
/// be sent again without harm. Several writers are not kept apart.
#[derive(Debug)]
pub struct StdinWriter {}

impl StdinWriter {
    /// Writes bytes, the first of which is number `offset` since the job's start; what the shim already has is skipped.
    /// Returns when all are in the payload's pipe, which is the back-pressure. When dropped half way, any part may have been taken.
    ///
    /// # Errors
    /// [`JobError::StdinClosed`] when the payload reads no more, [`JobError::Ended`] when it is gone.
    pub async fn write_at(&mut self, _offset: u64, _data: &[u8]) -> Result<(), JobError> {
        todo!()
    }

    /// Half-close: the payload sees the end of its input after what was written.
    ///
    /// # Errors
    /// As [`Self::write_at`]; an input that is closed already is no error.
    pub async fn finish(self) -> Result<(), JobError> {
        todo!()
    }
}
