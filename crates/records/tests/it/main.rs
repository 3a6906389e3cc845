//! The library from outside: what is acknowledged is there, once, whatever happens in between.

mod append;
mod crash;
mod damage;
mod failing;
mod kill;
mod query;
mod setup;
mod spool;
mod upkeep;
