//! `legwork doctor`.

use clap::Args;
use legwork_client::HostInfo;
use legwork_server::Rebuilt;
use serde_json::json;

use crate::app::App;
use crate::error::CommandError;
use crate::local;
use crate::output::printable;

/// Tell where jobs live, who we are to them, and how a job's processes are held together here.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Build the index of jobs anew from their directories
    #[arg(long)]
    rebuild: bool,
}

pub(crate) async fn run(app: &App, args: Doctor) -> Result<u8, CommandError> {
    let state = app.state_dir()?;
    let session = app.connect().await?;
    let rebuilt = match (args.rebuild, &session.server) {
        (true, Some(server)) => Some(server.rebuild().await.map_err(local::told)?),
        (true, None) => {
            let message =
                "a server has the index of jobs in use: it is rebuilt where no server runs";
            return Err(CommandError::usage(message).hint("stop that server first"));
        }
        (false, _) => None,
    };
    let info = session.client.info().await?;
    if app.out.json {
        app.out.json_line(&json!({
            "version": info.version,
            "stateDir": state.to_string_lossy(),
            "principal": info.principal,
            "containment": info.containment,
            "controllers": info.controllers,
            "rebuiltJobs": rebuilt.as_ref().map(|rebuilt| rebuilt.jobs),
            "damagedJobs": rebuilt.as_ref().map(|rebuilt| damaged(rebuilt).collect::<Vec<_>>()),
        }))?;
        return Ok(0);
    }
    app.out.text(&format!(
        "version     {}\nstate       {}\nprincipal   {}\ncontainment {}\n",
        printable(&info.version),
        state.display(),
        printable(&info.principal),
        printable(&containment(&info)),
    ))?;
    if let Some(rebuilt) = &rebuilt {
        app.out.text(&format!(
            "index       rebuilt, {}\n",
            crate::mirror::count(rebuilt.jobs as u64, "job")
        ))?;
        for id in damaged(rebuilt) {
            app.out.text(&format!("damaged     jobs/{id}\n"))?;
        }
        if !rebuilt.damaged.is_empty() {
            app.out.note(&format!(
                "the files of {} cannot be understood: they are left out of the index and as they are",
                crate::mirror::count(rebuilt.damaged.len() as u64, "job")
            ));
        }
    }
    Ok(0)
}

/// How jobs are held together, what limits that allows, and what would allow more.
fn containment(info: &HostInfo) -> String {
    let controllers = info.controllers.join(", ");
    let explained = match (info.containment.as_str(), controllers.as_str()) {
        ("cgroup", "") => {
            "every job has a control group, but there are no controllers: --memory, --cpus, --pids and --io-max are refused"
                .to_owned()
        }
        ("cgroup", some) => format!("every job has a control group, with the controllers {some}"),
        _ => "a job's processes are found as descendants of its supervisor; --memory, --cpus, --pids and --io-max need \
              control groups: `legwork serve --cgroup-root DIR`, or LEGWORK_CGROUP_ROOT for jobs without a server"
            .to_owned(),
    };
    format!("{}: {explained}", info.containment)
}

/// The jobs that are not in the index, by the names of their directories.
fn damaged(rebuilt: &Rebuilt) -> impl Iterator<Item = String> {
    rebuilt.damaged.iter().map(|id| id.uuid().to_string())
}
