//! The command line's grammar: one subcommand, one file in `commands/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Let another machine do the legwork: run commands in a mirror of this directory, and never lose one.
#[derive(Debug, Parser)]
#[command(
    name = "legwork",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Jobs are named by their id or by any unique prefix of it.\n\
    `legwork COMMAND --help` tells more."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
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
    /// Where local jobs and mirrors live
    #[arg(long, global = true, value_name = "DIR", env = "LEGWORK_STATE")]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mirror this directory, run a command there, show its output, exit with its code
    Run(commands::run::Run),
    /// The same detached: start one or several jobs and print their ids
    Start(commands::start::Start),
    /// Show one job
    Status(commands::status::Status),
    /// List jobs: those not finished, or all with -a
    #[command(visible_aliases = ["list", "ls"])]
    Ps(commands::ps::Ps),
    /// Show a job's output, past and with -f live
    Logs(commands::logs::Logs),
    /// Stop jobs: signal, grace, then everything they started
    Stop(commands::stop::Stop),
    /// Send a signal to a job's main process
    Signal(commands::signal::Signal),
    /// Wait for jobs and exit with the first code that is not 0
    Wait(commands::wait::Wait),
    /// Remove finished jobs and their output
    Rm(commands::rm::Rm),
    /// Mirror a directory without running anything
    Sync(commands::sync::Sync),
    /// Bring files back from a job's mirror
    Pull(commands::pull::Pull),
    /// Look at the state directory and what this host offers; rebuild the index of jobs
    Doctor(commands::doctor::Doctor),
    /// Print the version
    Version(commands::version::Version),
}
