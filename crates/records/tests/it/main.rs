//! The library from outside: what is acknowledged is there, once, whatever happens in between.

mod append;
mod setup;
