//! House rules that no compiler holds: sizes, module docs, leftovers, links, the changelog's shape.
//!
//! They run in `cargo xtask lint` and as a test, so nobody needs to watch for them in review.

mod files;
mod markdown;
mod rust;
mod text;

use std::path::Path;

use crate::{Failure, Outcome};

/// A file of the workspace: its path from the top, and its text.
#[derive(Debug)]
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|have| have == extension)
    }
}

/// Checks every rule over every file of the workspace.
pub(crate) fn check(root: &Path) -> Outcome {
    let sources = files::read(root)?;
    let mut found = rust::modules(&sources);
    for source in &sources {
        if source.is("rs") {
            found.extend(rust::file(source));
        }
        if source.is("md") {
            found.extend(markdown::links(root, source));
        }
        if source.path == "CHANGELOG.md" {
            found.extend(markdown::changelog(source));
        }
        found.extend(text::file(source));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(Failure::Rules {
        rule: "tidy",
        found,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        if let Err(failure) = super::check(&crate::root()) {
            panic!("{failure}");
        }
    }
}
