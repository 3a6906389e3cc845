//! The commands, a file each.

pub(crate) mod agent;
pub(crate) mod context;
pub(crate) mod doctor;
pub(crate) mod identities;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod logs;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod records;
pub(crate) mod revoke;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod signal;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod sync;
pub(crate) mod trash;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod workspaces;

use crate::app::App;
use crate::cli::Command;
use crate::error::CommandError;

/// Runs one command; its result is the process's exit code.
pub(crate) async fn dispatch(mut app: App, command: Command) -> Result<u8, CommandError> {
    // A flag after the command is more particular than one before it.
    macro_rules! at {
        ($given:ident, $handler:path) => {{
            app.state = $given.state.or(app.state);
            $handler(&app, $given.args).await
        }};
    }
    let result = match command {
        Command::Run(given) => at!(given, run::run),
        Command::Start(given) => at!(given, start::run),
        Command::Status(given) => at!(given, status::run),
        Command::Stats(given) => at!(given, stats::run),
        Command::Ps(args) => ps::run(&app, args).await,
        Command::Logs(given) => at!(given, logs::run),
        Command::Stop(given) => at!(given, stop::run),
        Command::Signal(given) => at!(given, signal::run),
        Command::Pause(given) => {
            app.state = given.state.or(app.state);
            pause::run(&app, given.args, pause::Wanted::Still).await
        }
        Command::Resume(given) => {
            app.state = given.state.or(app.state);
            pause::run(&app, given.args, pause::Wanted::Going).await
        }
        Command::Wait(given) => at!(given, wait::run),
        Command::Rm(given) => at!(given, rm::run),
        Command::Sync(given) => at!(given, sync::run),
        Command::Pull(given) => at!(given, pull::run),
        Command::Trash(given) => at!(given, trash::run),
        Command::Workspaces(given) => at!(given, workspaces::run),
        Command::Records(given) => at!(given, records::run),
        Command::Serve(given) => at!(given, serve::run),
        Command::Service(given) => at!(given, service::run),
        Command::Invite(given) => at!(given, invite::run),
        Command::Identities(given) => at!(given, identities::run),
        Command::Revoke(given) => at!(given, revoke::run),
        Command::Doctor(given) => at!(given, doctor::run),
        Command::Agent(given) => at!(given, agent::run),
        Command::Join(args) => join::run(&app, args).await,
        Command::Context(args) => context::run(&app, args),
        Command::Version(args) => version::run(&app, args),
        Command::Filter => crate::records::filter::work(),
    };
    app.settle().await;
    result
}
