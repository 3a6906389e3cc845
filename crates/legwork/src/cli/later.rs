//! A command's arguments as part of the grammar, built for the command that is asked for and for no other.
//!
//! Derived, the arguments of all commands are built whenever one is parsed: a tenth of the time that `legwork version` takes.

use std::path::PathBuf;

use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::In;

const STATE: &str = "state_dir";

impl<A: Args> Args for In<A> {
    fn augment_args(command: Command) -> Command {
        command.defer(build::<A>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn build<A: Args>(command: Command) -> Command {
    // What the command is about has been said; the arguments' own description is for readers of the source.
    let about = command.get_about().cloned().unwrap_or_default();
    let state = Arg::new(STATE)
        .long("state")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("Where local jobs and mirrors live");
    A::augment_args(command.arg(state))
        .about(about)
        .long_about(None::<&'static str>)
}

impl<A: Args> FromArgMatches for In<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            state: matches.remove_one(STATE),
            args: A::from_arg_matches_mut(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
