//! `legwork service`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::app::App;
use crate::error::{CommandError, FAILED};
use crate::service::{self, How, Installed, Plan, Unit, UnitStatus, Wanted, agent};

/// Have systemd run the server of this host, and its jobs apart from it.
#[derive(Debug, Args)]
pub(crate) struct Service {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write legwork.service and legwork-jobs.service, and start them; again after an upgrade, which restarts the server and leaves
    /// jobs alone
    Install(Install),
    /// Tell how both are
    Status,
    /// Stop both and remove them; the state directory stays
    Uninstall(Uninstall),
    /// Start what watches over jobs, for the server
    #[command(hide = true)]
    Keep(Keep),
}

#[derive(Debug, Args)]
struct Install {
    /// Run the server and its jobs as this user of the host; else the server is root
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Where its jobs, mirrors and keys live; else what `/etc/legwork/server.toml` says, else /var/lib/legwork
    #[arg(long = "state", id = "service_state", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Address to listen on, as of `serve` (repeat for more); else only users of this host reach it
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Where clients reach this server, for invites (repeat for more)
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Vec<String>,
    /// Run the jobs of others as this user, with a server that is root
    #[arg(long, value_name = "USER")]
    run_user: Option<String>,
    /// Let jobs run as root
    #[arg(long)]
    allow_root: bool,
    /// Show both units and change nothing
    #[arg(long)]
    print: bool,
    /// Start nothing now: both start with the host
    #[arg(long)]
    no_start: bool,
    /// Replace units of these names that somebody else wrote
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    agent: Agent,
}

/// The agent instead of a server.
#[derive(Debug, Args)]
struct Agent {
    /// Write and start legwork-agent.service instead, which reports this host's processes to a server. It joins by an invite of the
    /// role `report`, which is read from standard input, unless it has joined already
    #[arg(long, conflicts_with_all = ["user", "service_state", "listen", "advertise", "run_user", "allow_root"])]
    agent: bool,
    /// How often the agent makes a snapshot; else 15s
    #[arg(long, value_name = "DURATION", value_parser = crate::commands::agent::interval)]
    every: Option<Duration>,
    /// The stream to which the agent sends; else `process`
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
}

#[derive(Debug, Args)]
struct Uninstall {
    /// End the jobs that run
    #[arg(long)]
    stop_jobs: bool,
    /// Remove the agent instead; its keys and what it has not sent stay
    #[arg(long, conflicts_with = "stop_jobs")]
    agent: bool,
}

#[derive(Debug, Args)]
struct Keep {
    /// Where the server asks
    socket: PathBuf,
}

pub(crate) async fn run(app: &App, args: Service) -> Result<u8, CommandError> {
    match args.what {
        What::Install(args) => install(app, args),
        What::Status => status(app),
        What::Uninstall(args) if args.agent => {
            agent::uninstall()?;
            app.out
                .note("the agent is removed; its keys and its spool are as they were");
            Ok(0)
        }
        What::Uninstall(args) => {
            service::uninstall(args.stop_jobs)?;
            app.out
                .note("the services are removed; the state directory is as it was");
            Ok(0)
        }
        What::Keep(args) => service::keep::run(&args.socket).await,
    }
}

fn install(app: &App, args: Install) -> Result<u8, CommandError> {
    if args.agent.agent {
        return install_agent(app, args);
    }
    if args.agent.every.is_some() || args.agent.stream.is_some() {
        return Err(CommandError::usage("--every and --stream are for --agent"));
    }
    let how = How {
        force: args.force,
        start: !args.no_start,
    };
    let plan = Plan::new(Wanted {
        user: args.user,
        state: args.state.or_else(|| app.state.clone()),
        listen: args.listen,
        advertise: args.advertise,
        run_user: args.run_user,
        allow_root: args.allow_root,
    })?;
    if args.print {
        return print(app, &plan);
    }
    let done = service::install(&plan, how)?;
    tell(app, &done)
}

fn install_agent(app: &App, args: Install) -> Result<u8, CommandError> {
    let wanted = agent::Wanted {
        every: args.agent.every.unwrap_or(Duration::from_secs(15)),
        stream: args.agent.stream.unwrap_or_else(|| "process".to_owned()),
    };
    if args.print {
        let unit = agent::unit(&wanted)?;
        return print_units(app, vec![unit], agent::check_binary());
    }
    let how = How {
        force: args.force,
        start: !args.no_start,
    };
    let stays = agent::keys().exists();
    let written = agent::install(&wanted, how)?;
    if app.out.json {
        app.out.json_line(&json!({
            "written": written.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
            "started": !args.no_start,
            "joined": !stays,
        }))?;
        return Ok(0);
    }
    if stays {
        app.out.note(&format!(
            "the agent stays with the server that it has joined before, and no invite was read; to take it to another one, remove {} \
             and install it again with an invite of that one",
            agent::keys().display()
        ));
    }
    if let Some(path) = written {
        app.out.note(&format!("{} is written", path.display()));
    }
    app.out.note(if args.no_start {
        "nothing is started now; `systemctl start legwork-agent` does that"
    } else {
        "the agent runs; `legwork service status` tells how it is"
    });
    Ok(0)
}

fn print(app: &App, plan: &Plan) -> Result<u8, CommandError> {
    let checked = plan.check_binary().map_err(CommandError::from);
    print_units(app, plan.units()?.into(), checked)
}

fn print_units(
    app: &App,
    units: Vec<Unit>,
    checked: Result<(), CommandError>,
) -> Result<u8, CommandError> {
    if let Err(told) = checked {
        app.out
            .note(&format!("not to be installed so: {}", told.message));
    }
    if app.out.json {
        let units: Vec<_> = units
            .iter()
            .map(|unit| json!({ "path": unit.path().to_string_lossy(), "text": unit.text }))
            .collect();
        app.out.json_line(&json!({ "units": units }))?;
        return Ok(0);
    }
    for unit in units {
        app.out
            .text(&format!("# {}\n{}\n", unit.path().display(), unit.text))?;
    }
    Ok(0)
}

fn tell(app: &App, done: &Installed) -> Result<u8, CommandError> {
    if app.out.json {
        app.out.json_line(&json!({
            "written": done.written.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
            "started": done.started,
            "awaitedJobs": done.awaited,
            "invite": done.invite.as_ref().map(|path| path.to_string_lossy()),
        }))?;
        return Ok(0);
    }
    for path in &done.written {
        app.out.note(&format!("{} is written", path.display()));
    }
    app.out.note(if done.started {
        "the server runs; `legwork service status` tells how it is"
    } else {
        "nothing is started now; `systemctl start legwork` does that"
    });
    if done.awaited > 0 {
        app.out.note(&format!(
            "legwork-jobs has changed and has {}: once they are over, `systemctl restart legwork-jobs` brings the change into use",
            crate::mirror::count(done.awaited as u64, "job")
        ));
    }
    if let Some(path) = &done.invite {
        app.out.note(&format!(
            "the first admin's invite, good once and for 30 minutes, is in {}",
            path.display()
        ));
    }
    Ok(0)
}

fn status(app: &App) -> Result<u8, CommandError> {
    let units = service::status()?;
    let all_well = units.iter().all(|unit| unit.active == "active");
    if app.out.json {
        let units: Vec<_> = units.iter().map(to_json).collect();
        app.out.json_line(&json!({ "units": units }))?;
    } else {
        for unit in &units {
            app.out.text(&line(unit))?;
        }
    }
    Ok(if all_well { 0 } else { FAILED })
}

fn line(unit: &UnitStatus) -> String {
    if !unit.installed {
        return format!("{:<21} not installed\n", unit.name);
    }
    let mut line = format!("{:<21} {} ({})", unit.name, unit.active, unit.sub);
    if let Some(pid) = unit.pid {
        line += &format!(", process {pid}");
    }
    if !unit.enabled {
        line += ", does not start with the host";
    }
    if unit.restarts > 0 {
        line += &format!(
            ", started again {}",
            crate::mirror::count(unit.restarts.into(), "time")
        );
    }
    if !unit.says.is_empty() {
        line += &format!(": {}", unit.says);
    }
    line + "\n"
}

fn to_json(unit: &UnitStatus) -> serde_json::Value {
    json!({
        "name": unit.name,
        "installed": unit.installed,
        "enabled": unit.enabled,
        "active": unit.active,
        "sub": unit.sub,
        "pid": unit.pid,
        "says": unit.says,
        "restarts": unit.restarts,
    })
}
