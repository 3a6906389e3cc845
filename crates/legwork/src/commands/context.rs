//! `legwork context`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::app::App;
use crate::choice::{self, Choice, Url};
use crate::contexts::{self, Contexts, LOCAL, Place};
use crate::error::CommandError;
use crate::output::printable;
use crate::settings::UserConfig;

/// The servers that this user knows.
///
/// `legwork join` makes a context. A command is for the server that -H or -C names, else `$LEGWORK_HOST` or
/// `$LEGWORK_CONTEXT`, else the context in the project's legwork.toml, else the current one, else this machine.
#[derive(Debug, Args)]
pub(crate) struct Context {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the contexts; `*` marks the one that is used here
    #[command(visible_alias = "ls")]
    List,
    /// Make one the current context; `local` makes it this machine
    Use {
        /// Its name
        name: String,
    },
    /// Add one: a socket of this machine, or another address of a server that is known
    Add {
        /// Its name
        name: String,
        /// `unix:///PATH`, or with --from `https://HOST[:PORT]`
        url: String,
        /// Use the keys of this context
        #[arg(long, value_name = "CONTEXT")]
        from: Option<String>,
    },
    /// Remove one, with its key
    Rm {
        /// Its name
        name: String,
    },
    /// Show one, or the one that is used here
    Show {
        /// Its name
        name: Option<String>,
    },
}

pub(crate) fn run(app: &App, args: Context) -> Result<u8, CommandError> {
    let contexts = Contexts::open()?;
    match args.action {
        Action::List => list(app, &contexts)?,
        Action::Use { name } => {
            if name != LOCAL {
                contexts.get(&name)?;
            }
            let current = (name != LOCAL).then_some(name);
            let config = UserConfig::load()?;
            UserConfig { current, ..config }.store()?;
        }
        Action::Add { name, url, from } => add(&contexts, name, &url, from.as_deref())?,
        Action::Rm { name } => {
            contexts.remove(&name)?;
            let config = UserConfig::load()?;
            if config.current.as_deref() == Some(&*name) {
                let current = None;
                UserConfig { current, ..config }.store()?;
                app.out
                    .note("that was the current context; commands are for this machine now");
            }
        }
        Action::Show { name } => show(app, &contexts, name)?,
    }
    Ok(0)
}

fn list(app: &App, contexts: &Contexts) -> Result<(), CommandError> {
    let used = used(app);
    let all = contexts.all()?;
    if app.out.json {
        let values: Vec<_> = all
            .iter()
            .map(|context| to_json(context, used.as_deref()))
            .collect();
        return app.out.json_line(&values);
    }
    let width = all.iter().map(|context| context.name.len()).max();
    for context in &all {
        let mark = if used.as_deref() == Some(&*context.name) {
            '*'
        } else {
            ' '
        };
        app.out.text(&format!(
            "{mark} {:<width$}  {}\n",
            context.name,
            place(context),
            width = width.unwrap_or(0)
        ))?;
    }
    Ok(())
}

fn add(
    contexts: &Contexts,
    name: String,
    url: &str,
    from: Option<&str>,
) -> Result<(), CommandError> {
    contexts::check_name(&name)?;
    if contexts.find(&name)?.is_some() {
        return Err(CommandError::usage(format!(
            "there is a context {name:?} already"
        )));
    }
    match (choice::parse(url)?, from) {
        (Url::Socket(path), None) => {
            let place = Place::Socket(path);
            contexts.store(&contexts::Context { name, place }, None)
        }
        (Url::Socket(_), Some(_)) => Err(CommandError::usage("a socket needs no keys")),
        (Url::Network(_), None) => Err(CommandError::usage(
            "a server across a network is joined: `legwork join` makes its context",
        )
        .hint("with --from CONTEXT, this is another address of the same server")),
        (Url::Network(address), Some(from)) => {
            let Place::Network {
                server, identity, ..
            } = contexts.get(from)?.place
            else {
                return Err(CommandError::usage(format!("{from:?} is a socket")));
            };
            let keys = contexts.key_texts(from)?;
            let place = Place::Network {
                server,
                addresses: vec![address],
                identity,
            };
            contexts.store(&contexts::Context { name, place }, Some(&keys))
        }
    }
}

fn show(app: &App, contexts: &Contexts, name: Option<String>) -> Result<(), CommandError> {
    let name = match name {
        Some(name) => name,
        None => match app.choice()? {
            Choice::Local => LOCAL.to_owned(),
            Choice::Network { context, .. } => context,
            Choice::Socket { label, path } => {
                let place = Place::Socket(path);
                let context = contexts::Context { name: label, place };
                return print(app, &context);
            }
        },
    };
    if name != LOCAL {
        return print(app, &contexts.get(&name)?);
    }
    let state = app.state_dir()?;
    if app.out.json {
        let state = state.to_string_lossy();
        return app
            .out
            .json_line(&json!({"name": LOCAL, "stateDir": state}));
    }
    app.out.text(&format!(
        "name      {LOCAL}\nstate     {}\n",
        state.display()
    ))
}

fn print(app: &App, context: &contexts::Context) -> Result<(), CommandError> {
    if app.out.json {
        return app.out.json_line(&to_json(context, used(app).as_deref()));
    }
    app.out.text(&format!("name      {}\n", context.name))?;
    match &context.place {
        Place::Socket(path) => app.out.text(&format!("socket    {}\n", path.display())),
        Place::Network {
            server,
            addresses,
            identity,
        } => {
            for address in addresses {
                app.out.text(&format!("address   {address}\n"))?;
            }
            // The name is what the server says.
            let identity = printable(identity);
            app.out
                .text(&format!("server    {server}\nidentity  {identity}\n"))
        }
    }
}

/// The context that a command here would use, if it is one. Lists are shown even where that is in doubt.
fn used(app: &App) -> Option<String> {
    match app.choice().ok()? {
        Choice::Local => None,
        Choice::Network { context, .. } => Some(context),
        Choice::Socket { label, .. } => Some(label),
    }
}

fn place(context: &contexts::Context) -> String {
    match &context.place {
        Place::Socket(path) => format!("unix://{}", path.display()),
        Place::Network { addresses, .. } => {
            let urls: Vec<_> = addresses.iter().map(|at| format!("https://{at}")).collect();
            urls.join(" ")
        }
    }
}

fn to_json(context: &contexts::Context, used: Option<&str>) -> Value {
    let mut value = json!({
        "name": context.name,
        "used": used == Some(&*context.name),
    });
    match &context.place {
        Place::Socket(path) => value["socket"] = path.to_string_lossy().into(),
        Place::Network {
            server,
            addresses,
            identity,
        } => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            value["server"] = server.to_string().into();
            value["addresses"] = addresses.into();
            value["identity"] = identity.as_str().into();
        }
    }
    value
}
