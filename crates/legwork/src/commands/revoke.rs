//! `legwork revoke`.

use clap::Args;

use crate::app::App;
use crate::commands::identities;
use crate::error::CommandError;
use crate::serve;

/// End somebody's access to this host's server at once, also on connections that are open. Their jobs go on.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Name or uuid
    name: String,
}

pub(crate) async fn run(app: &App, args: Revoke) -> Result<u8, CommandError> {
    let client = serve::administer(app).await?;
    let revoked = client.revoke(&args.name).await?;
    if app.out.json {
        app.out.json_line(&identities::to_json(&revoked))?;
    } else {
        app.out.note(&format!("{} is revoked", revoked.name));
    }
    Ok(0)
}
