//! What a commit did, in the words of the protocol.

use crate::commit::survey::Survey;
use crate::digest::Digest;
use crate::message::{
    Deed, Hello, Listing, MAX_LISTED, MAX_LISTED_BYTES, MAX_PAGE, Node, PlanPage, Summary,
};
use crate::path::TreePath;
use crate::reconcile::Plan;

/// How many paths of each kind a client is told.
pub(crate) fn most(hello: &Hello) -> usize {
    let asked = usize::try_from(hello.named).unwrap_or(usize::MAX);
    if asked == 0 {
        MAX_LISTED
    } else {
        asked.min(MAX_LISTED)
    }
}

/// The first of `paths`, and how many there are.
fn listing<'a>(paths: impl IntoIterator<Item = &'a TreePath>, most: usize) -> Listing {
    let mut listing = Listing::default();
    add(&mut listing, paths, most);
    listing
}

/// Adds `paths`, as far as there is room, and their number. No more than `most` are named then.
pub(crate) fn add<'a>(
    listing: &mut Listing,
    paths: impl IntoIterator<Item = &'a TreePath>,
    most: usize,
) {
    let mut bytes: usize = listing.paths.iter().map(Vec::len).sum();
    for path in paths {
        let path = path.as_bytes();
        if listing.paths.len() < most && bytes + path.len() <= MAX_LISTED_BYTES {
            bytes += path.len();
            listing.paths.push(path.to_vec());
        }
        listing.total += 1;
    }
}

/// All that `plan` comes to.
pub(crate) fn pages(survey: &Survey<'_>, plan: &Plan) -> Vec<PlanPage> {
    let written: Vec<&TreePath> = plan
        .written
        .iter()
        .map(|&at| survey.changes[at].path)
        .collect();
    let all = [
        (Deed::Write, written),
        (Deed::Delete, plan.deleted.iter().collect()),
        (Deed::Displace, plan.displaced.iter().collect()),
        (Deed::Keep, plan.kept.iter().collect()),
    ];
    let page = |deed, paths: &[&TreePath]| PlanPage {
        deed,
        paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
    };
    let pages = all.iter().flat_map(|(deed, paths)| {
        let pages = paths.chunks(MAX_PAGE);
        pages.map(|paths| page(*deed, paths))
    });
    pages.collect()
}

/// Nothing changed.
pub(crate) fn unchanged(root: Digest, generation: u64, entries: u64) -> Summary {
    Summary {
        root,
        generation,
        entries,
        written: Listing::default(),
        written_bytes: 0,
        deleted: Listing::default(),
        displaced: Listing::default(),
        kept: Listing::default(),
        trash: String::new(),
    }
}

/// What `plan` comes to.
pub(crate) fn planned(
    unchanged: Summary,
    survey: &Survey<'_>,
    plan: &Plan,
    most: usize,
) -> Summary {
    let written = plan.written.iter().map(|&at| &survey.changes[at]);
    let bytes = |node: Option<&Node>| match node {
        Some(Node::File { size, .. }) => *size,
        _ => 0,
    };
    Summary {
        written_bytes: written.clone().map(|change| bytes(change.want)).sum(),
        written: listing(written.map(|change| change.path), most),
        deleted: listing(&plan.deleted, most),
        displaced: listing(&plan.displaced, most),
        kept: listing(&plan.kept, most),
        ..unchanged
    }
}
