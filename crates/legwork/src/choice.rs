//! Which server a command is for: flags, then the environment, then the project, then the user, else this machine.

use std::path::PathBuf;

use legwork_client::Patience;
use legwork_identity::invite::Address;

use crate::contexts::{Contexts, LOCAL, Place};
use crate::error::{CommandError, REFUSED};
use crate::project;
use crate::settings::UserConfig;

/// The port of a server that names no other.
const PORT: u16 = 7005;

/// What the flags of a command say about it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) host: Option<String>,
    pub(crate) context: Option<String>,
}

/// The server that a command is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This machine, by the user's own state directory.
    Local,
    /// One across a network, whose keys are those of a context.
    Network {
        context: String,
        /// Where to look for it, if not where the context says.
        address: Option<Address>,
    },
    /// One at a socket of this machine.
    Socket { label: String, path: PathBuf },
}

/// An address as it is written in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Url {
    Network(Address),
    Socket(PathBuf),
}

impl Asked {
    fn is_silent(&self) -> bool {
        self.host.is_none() && self.context.is_none()
    }

    /// What the environment says; an empty variable says nothing.
    fn of_environment() -> Result<Self, CommandError> {
        Ok(Self {
            host: variable("LEGWORK_HOST")?,
            context: variable("LEGWORK_CONTEXT")?,
        })
    }
}

fn variable(name: &str) -> Result<Option<String>, CommandError> {
    match std::env::var_os(name).filter(|value| !value.is_empty()) {
        Some(value) => value
            .into_string()
            .map(Some)
            .map_err(|_| CommandError::usage(format!("{name} is not UTF-8"))),
        None => Ok(None),
    }
}

/// For how long the environment says that lost contact is to be sought.
pub(crate) fn patience_of_environment() -> Result<Option<Patience>, CommandError> {
    let name = "LEGWORK_RECONNECT";
    let Some(text) = variable(name)? else {
        return Ok(None);
    };
    patience(&text)
        .map(Some)
        .map_err(|why| CommandError::usage(format!("{name} is {text:?}: {why}")))
}

/// `forever`, or a duration such as `90s`.
pub(crate) fn patience(text: &str) -> Result<Patience, String> {
    if text == "forever" {
        return Ok(Patience::Forever);
    }
    match humantime::parse_duration(text) {
        Ok(limit) => Ok(Patience::For(limit)),
        Err(_) => Err("write a duration such as 90s or 10m, or `forever`".to_owned()),
    }
}

/// Finds out which server is meant. `state` says that the flags name a local state directory.
pub(crate) fn choose(asked: &Asked, state: bool) -> Result<Choice, CommandError> {
    let contexts = Contexts::open();
    if !asked.is_silent() {
        if state && asked.context.as_deref() != Some(LOCAL) {
            let message = "--state is for jobs on this machine, and the flags name another one";
            return Err(CommandError::usage(message));
        }
        return meant(&contexts?, asked);
    }
    if state {
        return Ok(Choice::Local);
    }
    let environment = Asked::of_environment()?;
    if !environment.is_silent() {
        return meant(&contexts?, &environment);
    }
    // Without a home there is nobody who could have settled anything.
    let Ok(contexts) = contexts else {
        return Ok(Choice::Local);
    };
    if let Some((file, name)) = project::context()? {
        return named(&contexts, &name, None).map_err(|error| CommandError {
            message: format!("{}: {}", file.display(), error.message),
            ..error
        });
    }
    match UserConfig::load()?.current {
        Some(name) => named(&contexts, &name, None),
        None => Ok(Choice::Local),
    }
}

fn meant(contexts: &Contexts, asked: &Asked) -> Result<Choice, CommandError> {
    let url = asked.host.as_deref().map(parse).transpose()?;
    match (url, &asked.context) {
        (Some(Url::Socket(path)), None) => Ok(Choice::Socket {
            label: path.display().to_string(),
            path,
        }),
        (Some(Url::Socket(_)), Some(_)) => Err(CommandError::usage(
            "a socket needs no context: name one of the two",
        )),
        (Some(Url::Network(address)), Some(name)) => named(contexts, name, Some(address)),
        (Some(Url::Network(address)), None) => at(contexts, address),
        (None, Some(name)) => named(contexts, name, None),
        (None, None) => Ok(Choice::Local),
    }
}

fn named(
    contexts: &Contexts,
    name: &str,
    address: Option<Address>,
) -> Result<Choice, CommandError> {
    if name == LOCAL && address.is_none() {
        return Ok(Choice::Local);
    }
    let context = contexts.get(name)?;
    match (context.place, address) {
        (Place::Network { .. }, address) => Ok(Choice::Network {
            context: context.name,
            address,
        }),
        (Place::Socket(path), None) => Ok(Choice::Socket {
            label: context.name,
            path,
        }),
        (Place::Socket(_), Some(_)) => Err(CommandError::usage(format!(
            "the context {name:?} is a socket of this machine and has no address"
        ))),
    }
}

/// The context that has this address among its own.
fn at(contexts: &Contexts, address: Address) -> Result<Choice, CommandError> {
    for context in contexts.all()? {
        if let Place::Network { addresses, .. } = &context.place
            && addresses.contains(&address)
        {
            return Ok(Choice::Network {
                context: context.name,
                address: Some(address),
            });
        }
    }
    let message = format!("no context has the address {address}");
    Err(CommandError::new(REFUSED, "NOT_ENROLLED", message).hint(
        "join that server with an invite of its admin; with -C NAME too, a server that is \
             known is looked for at this address",
    ))
}

/// `https://HOST[:PORT]` or `unix:///PATH`.
pub(crate) fn parse(text: &str) -> Result<Url, CommandError> {
    let no_url = || {
        CommandError::usage(format!("{text:?} is no address of a server"))
            .hint("write https://HOST, https://HOST:PORT or unix:///PATH")
    };
    if let Some(path) = text.strip_prefix("unix://") {
        let path = PathBuf::from(path);
        return match path.is_absolute() {
            true => Ok(Url::Socket(path)),
            false => Err(no_url()),
        };
    }
    let rest = text.strip_prefix("https://").ok_or_else(no_url)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let address = match rest.parse() {
        Ok(address) => address,
        Err(_) => format!("{rest}:{PORT}").parse().map_err(|_| no_url())?,
    };
    Ok(Url::Network(address))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use legwork_client::Patience;

    use super::{Url, parse, patience};

    #[test]
    fn patience_is_a_time_or_without_end() {
        assert_eq!(patience("forever"), Ok(Patience::Forever));
        assert_eq!(patience("0s"), Ok(Patience::For(Duration::ZERO)));
        assert_eq!(patience("2m"), Ok(Patience::For(Duration::from_mins(2))));
        assert!(patience("soon").is_err() && patience("").is_err());
    }

    #[test]
    fn addresses() {
        let network = |text: &str| Url::Network(text.parse().unwrap());
        for (text, url) in [
            ("https://box", network("box:7005")),
            ("https://box:1/", network("box:1")),
            ("https://[::1]", network("[::1]:7005")),
            ("https://192.0.2.1:70", network("192.0.2.1:70")),
            ("unix:///run/x", Url::Socket("/run/x".into())),
        ] {
            assert_eq!(parse(text).unwrap(), url, "{text}");
        }
        for bad in [
            "box",
            "http://box",
            "https://",
            "https://box/x",
            "https://a@b",
            "https://box:0",
            "https://::1",
            "unix://x",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
