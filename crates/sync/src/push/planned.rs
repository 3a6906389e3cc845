//! What a dry run is told, put together: all paths in the place of the first of them.

use crate::error::PushError;
use crate::message::{Deed, Listing, PlanPage, Summary};

/// Paths that a server may tell of in all.
const MAX_PLANNED: usize = 8_000_000;

/// The pages so far.
#[derive(Default)]
pub(crate) struct Planned {
    written: Vec<Vec<u8>>,
    deleted: Vec<Vec<u8>>,
    displaced: Vec<Vec<u8>>,
    kept: Vec<Vec<u8>>,
    count: usize,
}

impl Planned {
    pub(crate) fn add(&mut self, page: PlanPage) -> Result<(), PushError> {
        self.count += page.paths.len();
        if self.count > MAX_PLANNED {
            return Err(PushError::Protocol("a plan without an end".to_owned()));
        }
        let paths = match page.deed {
            Deed::Write => &mut self.written,
            Deed::Delete => &mut self.deleted,
            Deed::Displace => &mut self.displaced,
            Deed::Keep => &mut self.kept,
        };
        paths.extend(page.paths);
        Ok(())
    }

    /// The summary with all that was told. A server that does not tell pages has told the first in the summary.
    pub(crate) fn complete(self, mut summary: Summary) -> Summary {
        let all = [
            (&mut summary.written, self.written),
            (&mut summary.deleted, self.deleted),
            (&mut summary.displaced, self.displaced),
            (&mut summary.kept, self.kept),
        ];
        for (listing, paths) in all {
            let more = paths.len() > listing.paths.len();
            if more {
                *listing = Listing {
                    total: listing.total,
                    paths,
                };
            }
        }
        summary
    }
}
