//! From the words of the command line to what they mean.
//!
//! Clap hands the options that every command understands down to each command of a grammar before it reads a word. A command line that
//! begins with the name of a command, as nearly all do, is therefore read by a grammar of that one.

use std::ffi::OsString;

use clap::error::Error;
use clap::{Args, Command, CommandFactory, FromArgMatches};

use super::{Cli, Options};

impl Cli {
    /// Reads the words of this process.
    ///
    /// # Errors
    /// What is to be said about words that mean nothing, or when help or the version are asked for.
    pub(crate) fn read() -> Result<Self, Error> {
        let words: Vec<OsString> = std::env::args_os().collect();
        Self::read_from(&words)
    }

    fn read_from(words: &[OsString]) -> Result<Self, Error> {
        let whole = Self::command();
        let first = words.get(1);
        let mut grammar = match first.and_then(|name| whole.find_subcommand(name)) {
            Some(named) => alone(named),
            None => whole,
        };
        let mut matches = grammar.try_get_matches_from_mut(words)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut grammar))
    }
}

/// The grammar with one command.
fn alone(named: &Command) -> Command {
    let root = Command::new("legwork")
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(super::WIDTH)
        .disable_help_subcommand(true)
        .subcommand_required(true);
    Options::augment_args(root).subcommand(named.clone())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::{Cli, OsString};

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    /// By the grammar of all commands.
    fn by_all(line: &str) -> String {
        let read = Cli::command().try_get_matches_from(words(line));
        told(read.and_then(|matches| Cli::from_arg_matches(&matches)))
    }

    fn told(read: Result<Cli, clap::Error>) -> String {
        match read {
            Ok(cli) => format!("{cli:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn it_is_read_as_by_the_whole_grammar() {
        for line in [
            "legwork run -q --memory 1G -- make test",
            "legwork run --help",
            "legwork run --memroy 1G",
            "legwork run",
            "legwork ls -a --state running",
            "legwork --json status id",
            "legwork status --state s id -H https://x",
            "legwork context use name",
            "legwork context",
            "legwork rnu",
            "legwork --version",
            "legwork",
        ] {
            assert_eq!(told(Cli::read_from(&words(line))), by_all(line), "{line}");
        }
    }
}
