//! The command line's grammar: one subcommand, one file in `commands/`.

mod later;
mod reading;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use legwork_client::Patience;

use crate::{choice, commands};

/// Columns of help at the most.
const WIDTH: usize = 100;

/// Let another machine do the legwork: run commands in a mirror of this directory, and never lose one.
#[derive(Debug, Parser)]
#[command(
    name = "legwork",
    version,
    max_term_width = WIDTH,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Jobs are named by their id or by any unique prefix of it.\n\
    `legwork COMMAND --help` tells more."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What may stand before the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Where local jobs and mirrors live; else `$LEGWORK_STATE`, else `$XDG_STATE_HOME/legwork`
    #[arg(long = "state", id = "state_dir", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print data and errors as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) server: Which,
}

/// Which server a command is for, and how it is reached.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Which {
    /// Use the server at this address: `https://HOST[:PORT]` or `unix:///PATH`; else `$LEGWORK_HOST`
    #[arg(long, short = 'H', global = true, value_name = "URL")]
    pub(crate) host: Option<String>,
    /// Use the server of this context, or with `local` none; else `$LEGWORK_CONTEXT`
    #[arg(long, short = 'C', global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Give up an attempt to connect after this long
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "10s",
        hide_default_value = true,
        value_parser = humantime::parse_duration
    )]
    pub(crate) connect_timeout: Duration,
    /// When contact is lost, seek it for this long, or `forever`; else `$LEGWORK_RECONNECT`, else for ever on a
    /// terminal and for 10 minutes elsewhere
    #[arg(long, global = true, value_name = "DURATION", value_parser = choice::patience)]
    pub(crate) reconnect: Option<Patience>,
}

/// A command's own arguments, and where the state directory is: `--state` may stand before the command or
/// after it. `ps` alone has it only before, because there `--state` asks for jobs in a state.
///
/// They are built when the command is asked for: see [`later`].
#[derive(Debug)]
pub(crate) struct In<A: Args> {
    /// Where local jobs and mirrors live
    pub(crate) state: Option<PathBuf>,
    /// The command's own.
    pub(crate) args: A,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mirror this directory, run a command there, show its output, exit with its code
    Run(In<commands::run::Run>),
    /// The same detached: start one or several jobs and print their ids
    Start(In<commands::start::Start>),
    /// Show one job
    Status(In<commands::status::Status>),
    /// List jobs: those not finished, or all with -a
    #[command(visible_aliases = ["list", "ls"])]
    Ps(commands::ps::Ps),
    /// Show what jobs have consumed until now
    Stats(In<commands::stats::Stats>),
    /// Show a job's output, past and with -f live
    Logs(In<commands::logs::Logs>),
    /// Stop jobs: signal, grace, then everything they started
    Stop(In<commands::stop::Stop>),
    /// Send a signal to a job's main process
    Signal(In<commands::signal::Signal>),
    /// Hold jobs still
    Pause(In<commands::pause::Pause>),
    /// Let paused jobs go on
    Resume(In<commands::pause::Pause>),
    /// Wait for jobs and exit with the first code that is not 0
    Wait(In<commands::wait::Wait>),
    /// Remove finished jobs and their output
    Rm(In<commands::rm::Rm>),
    /// Mirror a directory without running anything
    Sync(In<commands::sync::Sync>),
    /// Bring files back from a job's mirror
    Pull(In<commands::pull::Pull>),
    /// What had to give way in a mirror, and how to get it back
    Trash(In<commands::trash::Trash>),
    /// List or remove your mirrors on the server
    Workspaces(In<commands::workspaces::Workspaces>),
    /// Records of JSON in a log that loses nothing it has acknowledged: send them, read them
    Records(In<commands::records::Records>),
    /// Report this host's processes, and keep on disk what the server cannot take
    Agent(In<commands::agent::Agent>),
    /// Serve this state directory to others
    Serve(In<commands::serve::Serve>),
    /// Have systemd run the server of this host, and its jobs apart from it
    Service(In<commands::service::Service>),
    /// Invite somebody to this host's server
    Invite(In<commands::invite::Invite>),
    /// List who is known to this host's server
    Identities(In<commands::identities::Identities>),
    /// End somebody's access to this host's server
    Revoke(In<commands::revoke::Revoke>),
    /// Look at the state directory and what this host offers; rebuild the index of jobs
    Doctor(In<commands::doctor::Doctor>),
    /// Become known to a server by an invite
    Join(commands::join::Join),
    /// The servers that this user knows
    Context(commands::context::Context),
    /// Print the version
    Version(commands::version::Version),
    /// The process of a filter, for `records --where`
    #[command(name = crate::records::filter::COMMAND, hide = true)]
    Filter,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command};

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn state_means_the_directory_but_for_ps() {
        let run = Cli::parse_from(["legwork", "--state", "a", "status", "--state", "b", "id"]);
        let Command::Status(given) = run.command else {
            panic!("a status")
        };
        assert_eq!(
            (run.options.state, given.state),
            (Some("a".into()), Some("b".into()))
        );
        let ps = Cli::parse_from(["legwork", "--state", "a", "ps", "--state", "running"]);
        assert_eq!(ps.options.state, Some("a".into()));
    }
}
