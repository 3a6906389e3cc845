//! The end of a job of a batch that never ran, written down by somebody who is no shim.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use legwork_shim::exit::{Cause, Exit};
use legwork_shim::journal::Line;
use legwork_shim::spec::Spec;

use super::Listed;
use crate::error::JobError;
use crate::files;
use crate::id::JobId;
use crate::inner::Inner;
use crate::start;

/// How a job ends that never ran.
#[derive(Debug)]
pub(crate) struct End {
    /// Why.
    pub(crate) cause: Cause,
    /// Milliseconds since the epoch.
    pub(crate) at_ms: u64,
}

/// Has a pending job stopped; `false` if it is not pending, or not any more.
pub(crate) fn withdraw(inner: &Inner, id: JobId, by: String) -> Result<bool, JobError> {
    let Some(listed) = inner.accepted.glance()?.find(id)? else {
        return Ok(false);
    };
    let Some(spec) = listed.spec()? else {
        return Ok(false);
    };
    let end = End {
        cause: Cause::Stopped { by },
        at_ms: inner.clock.now_ms(),
    };
    conclude(inner, &spec, &listed, end)
}

/// Writes, durably, that a job ended and never ran; `false` if somebody is about to start it, or it has begun or ended, or was removed.
///
/// The lock on its journal is that of whoever would start it. So from here on nobody will.
pub(crate) fn conclude(
    inner: &Inner,
    spec: &Spec,
    listed: &Listed,
    end: End,
) -> Result<bool, JobError> {
    let dir = inner.dir(spec.id.into()).path;
    let told = |source| JobError::File {
        path: dir.clone(),
        source,
    };
    let fresh = files::make_private_dir(&dir).map_err(told)?;
    let Some(journal) = start::take(&dir, fresh).map_err(told)? else {
        return Ok(false);
    };
    let wanted = listed.is_struck().map(|struck| !struck);
    let written = match wanted {
        Ok(true) => write(&dir, &journal, spec, end).map_err(told),
        _ => Ok(()),
    };
    if fresh && !(written.is_ok() && matches!(wanted, Ok(true))) {
        std::fs::remove_dir_all(&dir).unwrap_or(());
    } else if written.is_err() {
        // Without its end the directory says what it said before: that nothing ran.
        journal.set_len(0).unwrap_or(());
    }
    written.and(wanted)
}

/// As a shim writes it: what can be seen is durable.
fn write(dir: &Path, mut journal: &File, spec: &Spec, end: End) -> io::Result<()> {
    let record = Exit::never_ran(end.cause, end.at_ms);
    let mut lines = Line::Spec.encode(spec)?;
    lines.extend(Line::Exit.encode(&record)?);
    let feed = lines.pop();
    journal.write_all(&lines)?;
    journal.sync_all()?;
    files::sync_dir(dir)?;
    dir.parent().map_or(Ok(()), files::sync_dir)?;
    journal.write_all(&feed.into_iter().collect::<Vec<_>>())
}
