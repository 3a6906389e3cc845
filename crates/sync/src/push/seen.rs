//! The client's tree as a scan found it. Mostly it is the one that was committed last, and then there is no need to put it together.

use crate::manifest;
use crate::push::base::Ground;
use crate::push::protect;
use crate::scan::{Found, Scanned};

/// What a conversation with the server is about.
pub(crate) trait Tree {
    /// All of it.
    fn whole(&mut self) -> &mut Scanned;
}

impl Tree for Scanned {
    fn whole(&mut self) -> &mut Scanned {
        self
    }
}

/// What a scan found over what was committed.
pub(crate) struct Seen<'a> {
    ground: &'a Ground,
    /// Until it is put together.
    found: Option<Found>,
    whole: Scanned,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(ground: &'a Ground, found: Found) -> Self {
        Self {
            ground,
            whole: Scanned {
                special: found.special,
                ..Scanned::default()
            },
            found: Some(found),
        }
    }

    /// Whether it is what was committed, looks so, and nobody asked for all of it.
    pub(crate) fn is_same(&self) -> bool {
        self.ground.list().is_some() && self.found.as_ref().is_some_and(Found::is_same)
    }

    /// What is to be told of it: its entries are there only if they were asked for.
    pub(crate) fn told(self) -> Scanned {
        self.whole
    }

    /// How many files and links are in it.
    pub(crate) fn files(&mut self) -> u64 {
        match self.ground.list() {
            Some(list) if self.is_same() => list.files(),
            _ => manifest::count_files(&self.whole().entries),
        }
    }
}

impl Tree for Seen<'_> {
    fn whole(&mut self) -> &mut Scanned {
        if let Some(found) = self.found.take() {
            let was = self.ground.entries();
            self.whole = match self.ground.list() {
                Some(_) => found.onto(was),
                None => found.whole(&[]),
            };
            protect(&mut self.whole, was);
        }
        &mut self.whole
    }
}
