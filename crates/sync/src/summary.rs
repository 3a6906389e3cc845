//! What a commit did, in the words of the protocol.

use crate::digest::Digest;
use crate::manifest::Entry;
use crate::message::{Listing, MAX_LISTED, Node, Summary};
use crate::path::TreePath;
use crate::reconcile::Plan;
use crate::survey::Survey;

/// The first of `paths`, and how many there are.
pub(crate) fn listing<'a>(paths: impl IntoIterator<Item = &'a TreePath>) -> Listing {
    let mut listing = Listing::default();
    for path in paths {
        if listing.paths.len() < MAX_LISTED {
            listing.paths.push(path.as_bytes().to_vec());
        }
        listing.total += 1;
    }
    listing
}

/// Nothing changed.
pub(crate) fn unchanged(root: Digest, generation: u64, entries: &[Entry]) -> Summary {
    Summary {
        root,
        generation,
        entries: entries.len() as u64,
        written: Listing::default(),
        written_bytes: 0,
        deleted: Listing::default(),
        displaced: Listing::default(),
        kept: Listing::default(),
        trash: String::new(),
    }
}

/// What `plan` comes to.
pub(crate) fn planned(unchanged: Summary, survey: &Survey<'_>, plan: &Plan) -> Summary {
    let written = plan.written.iter().map(|&at| &survey.changes[at]);
    let bytes = |node: Option<&Node>| match node {
        Some(Node::File { size, .. }) => *size,
        _ => 0,
    };
    Summary {
        written_bytes: written.clone().map(|change| bytes(change.want)).sum(),
        written: listing(written.map(|change| change.path)),
        deleted: listing(&plan.deleted),
        displaced: listing(&plan.displaced),
        kept: listing(&plan.kept),
        ..unchanged
    }
}

/// Adds what was found only while the plan was applied.
pub(crate) fn add(listing: &mut Listing, paths: &[TreePath]) {
    let more = self::listing(paths);
    listing.total += more.total;
    let room = MAX_LISTED - listing.paths.len();
    listing.paths.extend(more.paths.into_iter().take(room));
}
