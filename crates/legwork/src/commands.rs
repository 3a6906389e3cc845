//! The commands, a file each.

pub(crate) mod doctor;
pub(crate) mod logs;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod sync;
pub(crate) mod version;
pub(crate) mod wait;

use crate::app::App;
use crate::cli::Command;
use crate::error::CommandError;

/// Runs one command; its result is the process's exit code.
pub(crate) async fn dispatch(app: App, command: Command) -> Result<u8, CommandError> {
    match command {
        Command::Run(args) => run::run(&app, args).await,
        Command::Start(args) => start::run(&app, args).await,
        Command::Status(args) => status::run(&app, args).await,
        Command::Ps(args) => ps::run(&app, args).await,
        Command::Logs(args) => logs::run(&app, args).await,
        Command::Stop(args) => stop::run(&app, args).await,
        Command::Signal(args) => signal::run(&app, args).await,
        Command::Wait(args) => wait::run(&app, args).await,
        Command::Rm(args) => rm::run(&app, args).await,
        Command::Sync(args) => sync::run(&app, args).await,
        Command::Pull(args) => pull::run(&app, args).await,
        Command::Doctor(args) => doctor::run(&app, args).await,
        Command::Version(args) => version::run(&app, args),
    }
}
