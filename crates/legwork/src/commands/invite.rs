//! `legwork invite`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::error::CommandError;
use crate::output::printable;
use crate::{render, serve};

/// Invite somebody to this host's server: prints a line that lets whoever has it join, once.
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// What to call whoever joins: letters, digits and `. _ - @`
    name: String,
    /// admin, run, report or read (repeat for more)
    #[arg(
        long,
        value_name = "ROLE",
        default_value = "run",
        value_delimiter = ','
    )]
    role: Vec<String>,
    /// How long the invite lasts; 30 minutes unless told
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
}

pub(crate) async fn run(app: &App, args: Invite) -> Result<u8, CommandError> {
    let client = serve::administer(app).await?;
    let ttl_s = args.ttl.map(|ttl| ttl.as_secs());
    let invited = client.invite(&args.name, &args.role, ttl_s).await?;
    if app.out.json {
        app.out.json_line(&json!({
            "token": invited.token,
            "expiresAtS": invited.expires_at_s,
        }))?;
        return Ok(0);
    }
    app.out.text(&format!("{}\n", printable(&invited.token)))?;
    app.out.remark(&format!(
        "good once, until {}; whoever has it can join",
        render::time(invited.expires_at_s.saturating_mul(1000))
    ));
    Ok(0)
}
