//! The first connection, which is made while its user does what needs none yet.

use tokio_util::task::AbortOnDropHandle;

use crate::error::{CallError, Result};
use crate::live::Live;
use crate::mirror;

/// What has become of it.
#[derive(Debug)]
pub(crate) enum First {
    /// It is being made.
    Coming(AbortOnDropHandle<Result<Live>>),
    /// It could not be made. Whoever asks for it is told why, and no other is made: nobody tries a mistyped address for ever.
    Failed(CallError),
    /// It was there.
    Came,
}

impl First {
    /// Waits for it if it is still to come, and gives it out once. Cancel safe.
    pub(crate) async fn take(&mut self) -> Result<Option<Live>> {
        if let Self::Coming(coming) = self {
            let made = coming
                .await
                .unwrap_or_else(|end| Err(mirror::panicked(&end)));
            match made {
                Ok(live) => {
                    *self = Self::Came;
                    return Ok(Some(live));
                }
                Err(error) => *self = Self::Failed(error),
            }
        }
        match self {
            Self::Failed(error) => Err(error.clone()),
            Self::Coming(_) | Self::Came => Ok(None),
        }
    }

    /// Whether it is still to come.
    pub(crate) fn is_coming(&self) -> bool {
        matches!(self, Self::Coming(coming) if !coming.is_finished())
    }
}
