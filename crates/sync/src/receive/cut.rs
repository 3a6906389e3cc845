//! What sessions leave to the next: what came before one was cut off, and what commits replaced.

use std::time::SystemTime;

use crate::commit::{StagedFiles, staged_files};
use crate::error::{ReceiveError, refusal};
use crate::message::{Hello, Refusal};
use crate::push::since_epoch;
use crate::receive::turn::Context;
use crate::receive::{Options, Received};
use crate::tree::{Dir, Use};
use crate::workspace::kept::{CUT, Kept};
use crate::workspace::past::{self, PAST};
use crate::workspace::{STAGED, Workspace};

/// What an earlier session brought and no commit took.
pub(crate) fn kept(workspace: &Workspace, hello: &Hello, now: SystemTime) -> Result<Kept, Refusal> {
    let staging = &workspace.held.staging;
    let kept = if hello.dry_run {
        Kept::nothing(staging)
    } else {
        let now = since_epoch(now);
        Kept::open(staging, now).and_then(|kept| {
            let Ok(left) = staging.child(STAGED, Use::List) else {
                return Ok(kept);
            };
            // The server was killed: what it had verified is known by its content alone.
            let staged = staged_files(left);
            kept.keep(&staging.child(STAGED, Use::Names)?, &staged)?;
            staging.remove_all(STAGED)?;
            Kept::open(staging, now)
        })
    };
    kept.map_err(|errno| refusal("stage", CUT, errno))
}

/// Where what this session's commit replaces goes, if anywhere.
pub(crate) fn past(
    workspace: &Workspace,
    hello: &Hello,
    options: &Options,
) -> Result<Option<Dir>, Refusal> {
    if options.past_bytes == 0 || hello.dry_run {
        return Ok(None);
    }
    let opened = past::open(&workspace.held.staging);
    opened
        .map(Some)
        .map_err(|errno| refusal("stage", PAST, errno))
}

/// After a session without a commit: keeps what the client may come back for, and removes the rest.
pub(crate) fn leave(
    context: &Context<'_>,
    received: &Result<Received, ReceiveError>,
    staged: &StagedFiles,
) {
    let staging = &context.workspace.held.staging;
    // What stays is only in the way of other files, and the next session removes it; what is not kept is sent again.
    let _left = match received {
        Err(ReceiveError::Closed(_)) => context.kept.keep(context.staging, staged),
        _ => staging.remove_all(CUT),
    };
    let _left = staging.remove_all(STAGED);
}
