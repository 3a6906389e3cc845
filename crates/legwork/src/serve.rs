//! The server as a process: its settings, its logs, its beginning and its end.

mod file;
mod logs;
mod records;
mod rules;
mod settings;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use legwork_client::Client;
use legwork_server::{Config, Server, ServerLock, Sockets, connect};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::file::File;
use self::settings::Settings;
use crate::app::App;
use crate::commands::serve::Serve;
use crate::error::{CommandError, FAILED};
use crate::local::{self, told};
use crate::notify::Manager;

/// What the first identity of a server is called.
const FIRST: &str = "admin";
/// Its invite, when nobody looks at the terminal.
pub(crate) const FIRST_INVITE: &str = "first-admin.invite";
/// How long calls that change something may take to finish after their clients were let go.
const FINISH: Duration = Duration::from_secs(10);

/// A client that may do everything on this host's own state directory: through its server if there is one.
pub(crate) async fn administer(app: &App) -> Result<Client, CommandError> {
    let state = app.state_dir()?;
    match connect(&state).await.map_err(told)? {
        Some(socket) => Ok(Client::over(socket, app.tasks.clone()).await?),
        None => Ok(local::open_here(app, state).await?.client),
    }
}

/// What the settings of the whole host say that somebody has to know who installs the server.
#[derive(Debug, Default)]
pub(crate) struct SystemSettings {
    /// The state directory.
    pub(crate) state: Option<PathBuf>,
    /// Whether they say as whom jobs run.
    pub(crate) names_users: bool,
    /// Directories in which the sites and their stores are.
    pub(crate) sites: Vec<PathBuf>,
}

/// Reads them, if they are there.
pub(crate) fn system_settings() -> Result<SystemSettings, CommandError> {
    let place = Path::new(file::SYSTEM);
    if !place.exists() {
        return Ok(SystemSettings::default());
    }
    let file = File::find(Some(place.to_owned()))?;
    let run = &file.run;
    Ok(SystemSettings {
        names_users: run.user.is_some() || !run.users.is_empty() || run.allow_root,
        sites: settings::around(&file.workspace),
        state: file.state,
    })
}

/// Checks addresses that a server is to be given later.
pub(crate) fn check_addresses(listen: &[String], advertise: &[String]) -> Result<(), CommandError> {
    for address in listen {
        settings::resolve(address)?;
    }
    for name in advertise {
        settings::address(name)?;
    }
    Ok(())
}

/// Serves until a signal.
pub(crate) async fn run(app: &App, args: Serve) -> Result<u8, CommandError> {
    let init = args.init;
    let settings = Settings::find(args)?;
    let app = app.for_state(app.state.clone().or_else(|| settings.state.clone()));
    let (log, writer) = logs::begin(&settings)?;
    let state = app.state_dir()?;
    let config = Config {
        state_dir: state.clone(),
        cgroups: settings.cgroups.clone(),
        keeper: settings.keeper.clone(),
        job_rules: settings.job_rules.clone(),
        sites: settings.sites.clone(),
        records: settings.records.clone(),
    };
    let server = Server::open_for(config, &settings.run_as, app.tasks.clone())
        .await
        .map_err(told)?;
    let lock = ServerLock::take(&state).map_err(told)?;
    let made = init && server.initialise().map_err(told)?;
    if !settings.listen.is_empty() {
        server.check_initialised().map_err(told)?;
    }
    let stop = stop_on_signals(&app)?;
    let lost = server.recover().await.map_err(told)?;
    if lost > 0 {
        tracing::warn!(jobs = lost, "jobs were lost while there was no server");
    }
    let batches = server.launch_accepted().await.map_err(told)?;
    if batches > 0 {
        tracing::info!(batches, "jobs that were accepted before are being started");
    }
    server.keep_house(settings.retention);
    let mut sockets = Sockets::bind(&lock, &state, &settings.listen)
        .await
        .map_err(told)?;
    let addresses = sockets.addresses()?;
    let advertised = settings.advertised(&addresses)?;
    if !advertised.is_empty() {
        server.advertise(&advertised).map_err(told)?;
    }
    if made {
        first_invite(&app, &state).await?;
    }
    let metrics = match settings.metrics {
        Some(address) => Some(sockets.with_metrics(address).await.map_err(told)?),
        None => None,
    };
    announce(&app, &addresses, metrics, &state)?;
    let manager = Manager::of_environment();
    manager.ready(&listening(&addresses, &state));
    manager.watch_over(&app.tasks, &state, stop.clone());
    server
        .listen(sockets, settings.limits, log, stop)
        .await
        .map_err(told)?;
    app.tasks.close();
    // What takes longer is found in the state directory by whoever opens it next.
    drop(tokio::time::timeout(FINISH, app.tasks.wait()).await);
    server.close().await;
    drop(server);
    if let Some(writer) = writer {
        writer.finish();
    }
    tracing::info!("stopped");
    drop(lock);
    Ok(0)
}

/// Cancelled by the first signal. Another one changes nothing: the end comes within [`FINISH`] either way.
fn stop_on_signals(app: &App) -> Result<CancellationToken, CommandError> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = stop.clone();
    let ended = stop.clone();
    drop(app.tasks.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = ended.cancelled() => {}
        }
        tracing::info!("stopping: calls finish, streams end, jobs go on");
        Manager::of_environment().stopping();
        stopping.cancel();
    }));
    Ok(stop)
}

/// The invite of the first admin: on a terminal somebody reads it; else it waits in a file of ours alone.
async fn first_invite(app: &App, state: &Path) -> Result<(), CommandError> {
    // Nobody accepts connections yet.
    let session = local::open_here(app, state.to_owned()).await?;
    let roles = ["admin".to_owned()];
    let invited = match session.client.invite(FIRST, &roles, None).await {
        Ok(invited) => invited,
        Err(error) if error.reason == "NO_ADDRESS" => {
            app.out.note(
                "nobody is invited yet, because the server has no address: start it with --listen, \
                 then `legwork invite NAME --role admin`",
            );
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    if std::io::stdout().is_terminal() && !app.out.json {
        app.out
            .note("the first admin's invite, good once and for 30 minutes:");
        return app.out.text(&format!("{}\n", invited.token));
    }
    let path = state.join(FIRST_INVITE);
    let written = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{}\n", invited.token).as_bytes()));
    written
        .map_err(|error| CommandError::new(FAILED, "IO", format!("{}: {error}", path.display())))?;
    app.out.note(&format!(
        "the first admin's invite, good once and for 30 minutes, is in {}",
        path.display()
    ));
    Ok(())
}

/// Where the server is, in words.
fn listening(addresses: &[SocketAddr], state: &Path) -> String {
    let mut places: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    places.push(state.join("sock").display().to_string());
    format!("listening on {}", places.join(", "))
}

/// Says where the server is, once everybody who connects is answered.
fn announce(
    app: &App,
    addresses: &[SocketAddr],
    metrics: Option<SocketAddr>,
    state: &Path,
) -> Result<(), CommandError> {
    let socket = state.join("sock");
    if app.out.json {
        return app.out.json_line(&json!({
            "event": "listening",
            "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "socket": socket.to_string_lossy(),
            "metrics": metrics.map(|address| format!("http://{address}/metrics")),
        }));
    }
    app.out.note(&listening(addresses, state));
    if let Some(address) = metrics {
        app.out
            .note(&format!("metrics are at http://{address}/metrics"));
    }
    Ok(())
}
