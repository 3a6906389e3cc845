//! What the commands about records share: input that is read as it comes, filters, times, and lines for people.

pub(crate) mod filter;
pub(crate) mod input;
pub(crate) mod moment;
pub(crate) mod show;
