//! `legwork join`.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use legwork_client::{CallError, Enrolled, Joining, TlsTarget};
use legwork_identity::invite::{Address, Invite, TOKEN_CHARS_MAX};
use legwork_identity::tls::Credentials;
use legwork_identity::{PrivateKey, SystemClock, UnixTime};
use serde_json::json;

use crate::app::App;
use crate::contexts::{self, Context, Contexts, KeyTexts, Place};
use crate::error::{CommandError, FAILED, REFUSED};
use crate::interrupt::unless_interrupted;
use crate::renewal;
use crate::settings::UserConfig;

/// Bytes of standard input that are looked at for a token: room for white space in it.
const INPUT_MAX: u64 = 4 * TOKEN_CHARS_MAX as u64;

/// Become known to a server by an invite of its admin.
///
/// The invite is asked for, or read from standard input. The key is made here and never leaves this
/// machine. Nothing is sent before the server has shown that it is the one of the invite.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The invite; `-` or nothing reads it from standard input, where nobody else sees it
    token: Option<String>,
    /// Name the context so, and not after the server
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn run(app: &App, args: Join) -> Result<u8, CommandError> {
    if let Some(name) = &args.name {
        contexts::check_name(name)?;
    }
    let token = token(app, args.token)?;
    let invite = Invite::parse(&token)
        .map_err(|e| CommandError::new(REFUSED, "BAD_INVITE", e.to_string()))?;
    let contexts = Contexts::open()?;
    let name = name(&contexts, args.name, &invite)?;
    // The same invite gets the same key, so a join that was cut off can be repeated.
    let pending = contexts.pending_key(&invite.secret().hash().to_string())?;
    let key = PrivateKey::from_pem(&pending.text)
        .map_err(|e| CommandError::new(FAILED, "BAD_KEY", e.to_string()))?;
    let joining = Joining {
        certificate_request: key
            .request()
            .map_err(|e| CommandError::new(FAILED, "BAD_KEY", e.to_string()))?,
        invite,
    };
    let clock = Arc::new(SystemClock);
    let options = app.contact(&name)?;
    let enrolled = unless_interrupted(async {
        let joined = legwork_client::join(&joining, clock, &options, &app.tasks).await;
        joined.map_err(|error| failed(error, &joining.invite))
    })
    .await?;
    keep(&contexts, &name, &joining.invite, &enrolled, &pending.text)?;
    pending.forget();
    let current = make_current(&name)?;
    tell(app, &name, &enrolled, current)?;
    Ok(0)
}

/// Why one could not join. There is no context yet that could be shown.
///
/// Whether the invite has expired is the server's to say. Where it did not come to that, what the clock of this machine makes
/// of it is told.
fn failed(error: CallError, invite: &Invite) -> CommandError {
    let over = UnixTime::now() >= invite.expires_at();
    let reason = error.reason.clone();
    let error = CommandError::from(error);
    let places: Vec<_> = invite.addresses().iter().map(Address::as_str).collect();
    match reason.as_str() {
        "UNREACHABLE" | "NOT_TLS" | "NOT_LEGWORK" | "TLS_TOO_OLD" => error.hint(format!(
            "the invite says that the server is at {}: does it run there, and is there a way from here? \
             its admin names other addresses with `legwork serve --advertise`{}",
            places.join(" or "),
            if over {
                "; by this machine's clock, the invite has expired"
            } else {
                ""
            },
        )),
        "WRONG_CA" | "WRONG_SERVER" => error.hint(
            "another server is where the invite leads, or it was set up anew: ask its admin for an invite",
        ),
        _ => error,
    }
}

/// The token, from wherever it comes.
fn token(app: &App, argument: Option<String>) -> Result<String, CommandError> {
    if let Some(token) = argument.filter(|argument| argument != "-") {
        app.out.note(
            "an invite on the command line is seen by others (in lists of processes, and in the \
             shell's history): `legwork join` alone asks for it",
        );
        return Ok(token);
    }
    let stdin = std::io::stdin();
    let mut text = String::new();
    if stdin.is_terminal() {
        // Nobody is left to be asked if the terminal is gone.
        drop(write!(std::io::stderr(), "invite: "));
        let mut line = stdin.lock().take(INPUT_MAX);
        line.read_line(&mut text)?;
    } else {
        stdin.lock().take(INPUT_MAX).read_to_string(&mut text)?;
    }
    if text.trim().is_empty() {
        return Err(CommandError::usage("there is no invite to join by"));
    }
    Ok(text)
}

/// What to call the context. One of that name gives way only if it is of the same server.
fn name(
    contexts: &Contexts,
    asked: Option<String>,
    invite: &Invite,
) -> Result<String, CommandError> {
    let name = asked.unwrap_or_else(|| after(invite.addresses()));
    match contexts.find(&name)? {
        Some(Context {
            place: Place::Network { server, .. },
            ..
        }) if server == invite.server() => Ok(name),
        Some(_) => Err(CommandError::usage(format!(
            "there is a context {name:?} already, of another server"
        ))
        .hint("--name NAME gives this one another name")),
        None => Ok(name),
    }
}

/// A name after the server: the first part of its DNS name, or its number.
fn after(addresses: &[Address]) -> String {
    let host = addresses.first().map_or("server", Address::host);
    let number = host.parse::<std::net::IpAddr>().is_ok();
    let short = if number {
        host
    } else {
        host.split('.').next().unwrap_or(host)
    };
    let name = short.replace(':', "-");
    if contexts::check_name(&name).is_ok() {
        name
    } else {
        "server".to_owned()
    }
}

/// Keeps what the server gave, if one can connect with it.
fn keep(
    contexts: &Contexts,
    name: &str,
    invite: &Invite,
    enrolled: &Enrolled,
    key: &str,
) -> Result<(), CommandError> {
    let certificate = renewal::pem(&enrolled.certificate);
    let own = Credentials::from_pem(&certificate, key)
        .map_err(|e| CommandError::new(FAILED, "BAD_CREDENTIALS", e.to_string()))?;
    let addresses = invite.addresses().to_vec();
    TlsTarget::new(
        addresses.clone(),
        enrolled.ca.clone(),
        enrolled.server,
        &own,
        Arc::new(SystemClock),
    )?;
    let context = Context {
        name: name.to_owned(),
        place: Place::Network {
            server: enrolled.server,
            addresses,
            identity: enrolled.name.clone(),
        },
    };
    let texts = KeyTexts {
        ca: enrolled.ca.to_pem(),
        certificate,
        key: key.to_owned(),
    };
    contexts.store(&context, Some(&texts))
}

/// Makes it the current context if there is none.
fn make_current(name: &str) -> Result<bool, CommandError> {
    let config = UserConfig::load()?;
    if config.current.is_some() {
        return Ok(false);
    }
    let current = Some(name.to_owned());
    UserConfig { current, ..config }.store()?;
    Ok(true)
}

fn tell(app: &App, name: &str, enrolled: &Enrolled, current: bool) -> Result<(), CommandError> {
    let server = Duration::from_millis(enrolled.server_time_ms);
    let server = UnixTime::since_unix_epoch(server);
    if let Some(skew) = legwork_client::skew(UnixTime::now(), server) {
        app.out.note(&skew);
    }
    if app.out.json {
        return app.out.json_line(&json!({
            "context": name,
            "server": enrolled.server.to_string(),
            "identity": enrolled.name,
            "roles": enrolled.roles,
            "current": current,
        }));
    }
    app.out.note(&format!(
        "joined {name} as {} ({}){}",
        enrolled.name,
        enrolled.roles.join(", "),
        if current {
            "; it is the current context"
        } else {
            ""
        },
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn a_context_is_named_after_the_server() {
        for (address, name) in [
            ("box.example.org:7005", "box"),
            ("192.0.2.1:7005", "192.0.2.1"),
            ("[2001:db8::1]:7005", "2001-db8--1"),
            ("[::1]:7005", "server"),
            ("local:7005", "server"),
        ] {
            assert_eq!(after(&[address.parse().unwrap()]), name);
        }
    }
}
