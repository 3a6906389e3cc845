//! `legwork serve`.

use std::path::PathBuf;

use clap::Args;

use crate::app::App;
use crate::error::CommandError;
use crate::serve;

/// Serve this state directory to others, until SIGTERM or Ctrl-C; jobs go on without it.
///
/// Without an address, only users of this host who may open the state directory reach it. Settings come from flags, else from
/// `LEGWORK_LISTEN`, `LEGWORK_ADVERTISE`, `LEGWORK_RUN_USER`, `LEGWORK_CGROUP_ROOT`, `LEGWORK_LOG_LEVEL`, `LEGWORK_LOG_FILE`, `LEGWORK_ACCESS_LOG`
/// and `LEGWORK_METRICS`, else from the settings file.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on, port 7005 unless told; port 0 takes a free one (repeat for more)
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<String>,
    /// Where clients reach this server, for invites; else where it listens (repeat for more)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Vec<String>,
    /// Settings file; else `$LEGWORK_SERVER_CONFIG`, `$XDG_CONFIG_HOME/legwork/server.toml`, `/etc/legwork/server.toml`
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Make the certificate authority and the first invite, if they were not made before
    #[arg(long)]
    pub(crate) init: bool,
    /// Run the jobs of others as this user of the host; for that the server has to be root. `[run.users]` in the settings
    /// file names other users for single identities
    #[arg(long, value_name = "USER")]
    pub(crate) run_user: Option<String>,
    /// Let jobs run as root: whoever may run jobs without another user named for them is then root on this host
    #[arg(long)]
    pub(crate) allow_root: bool,
    /// Give every job a control group in this directory of a cgroup2 file system, which must belong to the server alone; `none`
    /// for no groups, or `auto`, as without this option, for what the server finds to be its own
    #[arg(long, value_name = "DIR")]
    pub(crate) cgroup_root: Option<PathBuf>,
    /// Have the processes that watch over jobs started by the keeper that listens at this socket, as `legwork service install`
    /// sets it up; with `--cgroup-root auto`, jobs have their control groups where it says
    #[arg(long, value_name = "SOCKET")]
    pub(crate) keeper: Option<PathBuf>,
    /// How much is told of what the server does: error, warn, info, debug
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Where it is told; else standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Log a line of JSON for each call to this file, or with `-` to standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) access_log: Option<PathBuf>,
    /// Answer `GET /metrics` for Prometheus in plain HTTP on this loopback address, such as 127.0.0.1:9705
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<String>,
}

pub(crate) async fn run(app: &App, args: Serve) -> Result<u8, CommandError> {
    serve::run(app, args).await
}
