//! `legwork identities`.

use clap::Args;
use legwork_client::Identity;
use legwork_jobs::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::CommandError;
use crate::{render, serve};

/// List who is known to this host's server, with roles and how long their certificates last.
#[derive(Debug, Args)]
pub(crate) struct Identities {
    /// Those that are revoked too
    #[arg(long, short)]
    all: bool,
}

pub(crate) async fn run(app: &App, args: Identities) -> Result<u8, CommandError> {
    let client = serve::administer(app).await?;
    let mut known = client.identities().await?;
    known.retain(|identity| args.all || identity.revoked_at_s.is_none());
    if app.out.json {
        app.out
            .json_line(&known.iter().map(to_json).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let width = known.iter().map(|known| known.name.len()).max();
    let width = width.unwrap_or_default().max(4);
    let mut text = format!("{:<width$}  {:<16}  STATE\n", "NAME", "ROLES");
    for identity in &known {
        let roles = identity.roles.join(",");
        let state = state(identity, SystemClock.now_ms() / 1000);
        text.push_str(&format!(
            "{:<width$}  {roles:<16}  {state}\n",
            identity.name
        ));
    }
    app.out.text(&text)?;
    Ok(0)
}

fn state(identity: &Identity, now_s: u64) -> String {
    let at = |seconds: u64| render::time(seconds.saturating_mul(1000));
    match (identity.revoked_at_s, identity.valid_until_s) {
        (Some(since), _) => format!("revoked since {}", at(since)),
        (None, Some(until)) if until < now_s => format!("expired at {}", at(until)),
        (None, Some(until)) => format!("valid until {}", at(until)),
        (None, None) => "invited".to_owned(),
    }
}

/// As other programs read it.
pub(crate) fn to_json(identity: &Identity) -> Value {
    json!({
        "id": identity.id,
        "name": identity.name,
        "roles": identity.roles,
        "createdAtS": identity.created_at_s,
        "revokedAtS": identity.revoked_at_s,
        "validUntilS": identity.valid_until_s,
    })
}
