//! The real shim in real job directories, driven as a launcher drives it.

mod disk;
mod ending;
mod groups;
mod harness;
mod limits;
mod output;
mod start;
mod stdin;
mod stop;
