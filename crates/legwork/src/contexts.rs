//! Contexts: servers that this user knows, by name, with what it takes to talk to them.
//!
//! Each is a directory in `contexts/` below the data directory, of mode 0700. It is put in place whole:
//!
//! ```text
//! context.json     which server, and where; of a version, unknown fields are ignored
//! ca.pem           the certificate of the server's authority
//! certificate.pem  ours
//! key.pem          our key, made on this machine
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use legwork_identity::PrivateKey;
use legwork_identity::ca::CaCertificate;
use legwork_identity::invite::Address;
use legwork_identity::tls::Credentials;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{CommandError, FAILED, USAGE};
use crate::{files, paths, settings};

/// What stands for this machine without a server, and can be no context's name.
pub(crate) const LOCAL: &str = "local";

/// The format that this build writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Longest name, in bytes.
const NAME_MAX: usize = 64;

const ABOUT: &str = "context.json";
const CA: &str = "ca.pem";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// A server that the user knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Across a network.
    Network {
        server: Uuid,
        addresses: Vec<Address>,
        /// Who we are there.
        identity: String,
    },
    /// At a socket of this machine.
    Socket(PathBuf),
}

/// `context.json`.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<PathBuf>,
}

/// What it takes to talk to a server across a network.
pub(crate) struct Keys {
    pub(crate) ca: CaCertificate,
    pub(crate) own: Credentials,
    /// PEM of our key, for the request for a next certificate.
    pub(crate) key: String,
}

/// The three texts that a context across a network keeps.
pub(crate) struct KeyTexts {
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A key whose certificate is being asked for.
pub(crate) struct PendingKey {
    dir: PathBuf,
    pub(crate) text: String,
}

impl PendingKey {
    /// It is kept elsewhere now.
    pub(crate) fn forget(self) {
        // What stays is used by nobody.
        drop(std::fs::remove_dir_all(self.dir));
    }
}

/// All contexts of this user.
#[derive(Debug)]
pub(crate) struct Contexts {
    dir: PathBuf,
}

impl Contexts {
    /// Those in the user's data directory.
    pub(crate) fn open() -> Result<Self, CommandError> {
        Ok(Self::at(paths::data_dir()?.join("contexts")))
    }

    fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// By name, in alphabetical order.
    pub(crate) fn names(&self) -> Result<Vec<String>, CommandError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(files::failed(&self.dir, &e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| files::failed(&self.dir, &e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if check_name(&name).is_ok() && entry.path().join(ABOUT).is_file() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The context of this name; one that is not there is an error, with what may have been meant.
    pub(crate) fn get(&self, name: &str) -> Result<Context, CommandError> {
        match self.find(name)? {
            Some(context) => Ok(context),
            None => Err(self.unknown(name)),
        }
    }

    /// The context of this name, if there is one.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Context>, CommandError> {
        if check_name(name).is_err() {
            return Ok(None);
        }
        let file = self.dir.join(name).join(ABOUT);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(files::failed(&file, &e)),
        };
        let about: About =
            serde_json::from_slice(&text).map_err(|e| damaged(&file, &e.to_string()))?;
        if about.version > VERSION {
            let message = format!("{} was written by a newer legwork", file.display());
            return Err(CommandError::new(FAILED, "CONTEXT_NEWER", message)
                .hint("use the newer legwork, or join again under another name"));
        }
        let place = about.place().ok_or_else(|| damaged(&file, "no server"))?;
        let name = name.to_owned();
        Ok(Some(Context { name, place }))
    }

    /// All of them.
    pub(crate) fn all(&self) -> Result<Vec<Context>, CommandError> {
        let names = self.names()?;
        names.iter().map(|name| self.get(name)).collect()
    }

    /// Puts a context in place whole; one of the same name gives way.
    pub(crate) fn store(
        &self,
        context: &Context,
        keys: Option<&KeyTexts>,
    ) -> Result<(), CommandError> {
        check_name(&context.name)?;
        files::private_dir(&self.dir)?;
        let fresh = self.dir.join(format!(".new-{}", Uuid::now_v7()));
        let placed =
            fill(&fresh, context, keys).and_then(|()| self.put_in_place(&fresh, &context.name));
        // Either what could not be put in place, or what gave way.
        drop(std::fs::remove_dir_all(&fresh));
        placed
    }

    fn put_in_place(&self, fresh: &Path, name: &str) -> Result<(), CommandError> {
        let path = self.dir.join(name);
        let flags = if path.exists() {
            RenameFlags::EXCHANGE
        } else {
            RenameFlags::NOREPLACE
        };
        renameat_with(CWD, fresh, CWD, &path, flags)
            .map_err(|errno| files::failed(&path, &errno.into()))?;
        files::sync_parent(&path)
    }

    /// Removes a context with its key.
    pub(crate) fn remove(&self, name: &str) -> Result<(), CommandError> {
        self.get(name)?;
        let gone = self.dir.join(format!(".old-{}", Uuid::now_v7()));
        let path = self.dir.join(name);
        std::fs::rename(&path, &gone).map_err(|e| files::failed(&path, &e))?;
        std::fs::remove_dir_all(&gone).map_err(|e| files::failed(&gone, &e))
    }

    /// What it takes to talk to this context's server.
    pub(crate) fn keys(&self, name: &str) -> Result<Keys, CommandError> {
        let texts = self.key_texts(name)?;
        let dir = self.path(name);
        let ca = CaCertificate::from_pem(&texts.ca)
            .map_err(|e| damaged(&dir.join(CA), &e.to_string()))?;
        let own = Credentials::from_pem(&texts.certificate, &texts.key)
            .map_err(|e| damaged(&dir, &e.to_string()))?;
        let key = texts.key;
        Ok(Keys { ca, own, key })
    }

    /// The same as the texts that are kept.
    pub(crate) fn key_texts(&self, name: &str) -> Result<KeyTexts, CommandError> {
        let read = |file: &str| {
            let path = self.path(name).join(file);
            std::fs::read_to_string(&path).map_err(|e| files::failed(&path, &e))
        };
        Ok(KeyTexts {
            ca: read(CA)?,
            certificate: read(CERTIFICATE)?,
            key: read(KEY)?,
        })
    }

    /// Puts a new certificate for the same key in the place of the old one.
    pub(crate) fn renew(&self, name: &str, certificate: &str) -> Result<(), CommandError> {
        files::replace(&self.path(name).join(CERTIFICATE), certificate.as_bytes())
    }

    /// The key for joining by one invite, on the disk before anything is sent: made now, or by an earlier attempt
    /// whose answer was lost.
    pub(crate) fn pending_key(&self, invite: &str) -> Result<PendingKey, CommandError> {
        let invite = invite.get(..16).unwrap_or(invite);
        let dir = self.dir.join(format!(".joining-{invite}"));
        files::private_dir(&dir)?;
        let path = dir.join(KEY);
        if !path.exists() {
            let key = PrivateKey::generate()
                .map_err(|e| CommandError::new(FAILED, "BAD_KEY", e.to_string()))?;
            files::replace(&path, key.to_pem().as_bytes())?;
            files::sync_parent(&dir)?;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| files::failed(&path, &e))?;
        Ok(PendingKey { dir, text })
    }

    /// Where a context is kept.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What to say of a name that is none.
    pub(crate) fn unknown(&self, name: &str) -> CommandError {
        let message = format!("there is no context {name:?} on this machine");
        let error = CommandError::new(FAILED, "UNKNOWN_CONTEXT", message);
        let names = self.names().unwrap_or_default();
        let near = settings::nearest(name, names.iter().map(String::as_str));
        error.hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`legwork context list` shows those there are; `legwork join` makes one".into(),
        })
    }
}

impl About {
    fn place(&self) -> Option<Place> {
        if let Some(socket) = &self.socket {
            return Some(Place::Socket(socket.clone()));
        }
        let addresses = self.addresses.iter().map(|text| text.parse().ok());
        let addresses = addresses.collect::<Option<Vec<Address>>>()?;
        Some(Place::Network {
            server: self.server?,
            addresses,
            identity: self.identity.clone().unwrap_or_default(),
        })
    }
}

fn fill(dir: &Path, context: &Context, keys: Option<&KeyTexts>) -> Result<(), CommandError> {
    files::private_dir(dir)?;
    let mut about = About {
        version: VERSION,
        server: None,
        addresses: Vec::new(),
        identity: None,
        socket: None,
    };
    match &context.place {
        Place::Network {
            server,
            addresses,
            identity,
        } => {
            about.server = Some(*server);
            about.addresses = addresses.iter().map(ToString::to_string).collect();
            about.identity = Some(identity.clone());
        }
        Place::Socket(path) => about.socket = Some(path.clone()),
    }
    let text = serde_json::to_vec_pretty(&about).map_err(std::io::Error::from)?;
    files::create(&dir.join(ABOUT), &text)?;
    if let Some(keys) = keys {
        files::create(&dir.join(CA), keys.ca.as_bytes())?;
        files::create(&dir.join(CERTIFICATE), keys.certificate.as_bytes())?;
        files::create(&dir.join(KEY), keys.key.as_bytes())?;
    }
    files::sync_parent(&dir.join(ABOUT))
}

/// Whether a context can have this name: it is a directory, and typed in shells.
pub(crate) fn check_name(name: &str) -> Result<(), CommandError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let good = name.len() <= NAME_MAX
        && name.bytes().all(plain)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if good && name != LOCAL {
        return Ok(());
    }
    let message = format!("a context cannot be named {name:?}");
    Err(CommandError::new(USAGE, "USAGE", message).hint(format!(
        "up to {NAME_MAX} letters, digits, `.`, `-` and `_`, a letter or digit first, and not `{LOCAL}`"
    )))
}

fn damaged(path: &Path, what: &str) -> CommandError {
    let message = format!("{}: {what}", path.display());
    CommandError::new(FAILED, "CONTEXT_DAMAGED", message)
        .hint("`legwork context rm NAME`, and join again")
}

#[cfg(test)]
mod tests;
