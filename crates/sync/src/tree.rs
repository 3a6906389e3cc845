//! Access to trees: directories held open, and everything that is done by single names in them.
//!
//! The only modules that touch a mirrored tree. A path is never handed to the kernel whole, except to
//! openat2(2) with `BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV`, which opens the directory that
//! an operation is about; the operation itself then takes one name and follows nothing. Whoever
//! renames or links things meanwhile can make an operation fail, but not lead it elsewhere. `dir` is
//! that handle; `copy`, `hash`, `read`, `write` and `walk` are built on it.

pub(crate) mod copy;
mod dir;
pub(crate) mod hash;
pub(crate) mod read;
pub(crate) mod walk;
pub(crate) mod write;

pub(crate) use self::dir::{Dir, Name, Parents, Use};
