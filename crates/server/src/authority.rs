//! The certificate authority and the identities of a state directory, once there are any.
//!
//! A command that works on its own state directory has none, and must not pay for looking: they are opened when
//! somebody asks for them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use legwork_identity::UnixTime;
use legwork_identity::ca::{CA_LIFETIME, Ca};
use legwork_identity::invite::Address;
use legwork_identity::store::Store;
use legwork_jobs::{Clock, SystemClock};
use tonic::Code;

use crate::problem::Problem;

/// The file in which a server that listens leaves its addresses, for invites that are made while it is away.
const ADDRESSES: &str = "addresses";

/// The time as certificates and invites see it.
pub(crate) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_millis(SystemClock.now_ms()))
}

/// What [`Authority`] opens.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) ca: Ca,
    pub(crate) store: Store,
}

/// Opens what there is at the first question, and keeps it.
#[derive(Debug)]
pub(crate) struct Authority {
    state: PathBuf,
    opened: Mutex<Option<Arc<Opened>>>,
}

impl Authority {
    pub(crate) fn new(state: PathBuf) -> Self {
        Self {
            state,
            opened: Mutex::default(),
        }
    }

    /// What there is. Blocks for file operations the first time.
    pub(crate) fn find(&self) -> Result<Option<Arc<Opened>>, Problem> {
        self.open(|state| Ok(Ca::load(state)?))
    }

    /// The same, made if there is none; and whether it was made.
    pub(crate) fn create(&self) -> Result<(Arc<Opened>, bool), Problem> {
        if let Some(there) = self.find()? {
            return Ok((there, false));
        }
        let made = self.open(|state| Ok(Some(Ca::load_or_create(state, now(), CA_LIFETIME)?)))?;
        made.map(|made| (made, true)).ok_or_else(not_initialised)
    }

    /// What there is, for those who cannot do without.
    pub(crate) fn need(&self) -> Result<Arc<Opened>, Problem> {
        self.find()?.ok_or_else(not_initialised)
    }

    fn open(
        &self,
        ca: impl FnOnce(&std::path::Path) -> Result<Option<Ca>, Problem>,
    ) -> Result<Option<Arc<Opened>>, Problem> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            let Some(ca) = ca(&self.state)? else {
                return Ok(None);
            };
            let store = Store::open(&self.state, now())?;
            *opened = Some(Arc::new(Opened { ca, store }));
        }
        Ok(opened.clone())
    }

    /// Where the server can be reached, as it last said. Empty if it never did.
    pub(crate) fn addresses(&self) -> Result<Vec<Address>, Problem> {
        let path = self.state.join(ADDRESSES);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Problem::io(&path, &error)),
        }
    }

    /// Leaves the addresses for invites.
    pub(crate) fn advertise(&self, addresses: &[Address]) -> Result<(), Problem> {
        let lines: Vec<&str> = addresses.iter().map(Address::as_str).collect();
        let (path, fresh) = (self.state.join(ADDRESSES), self.state.join("addresses.new"));
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        options
            .open(&fresh)
            .and_then(|mut file| file.write_all(lines.join("\n").as_bytes()))
            .and_then(|()| std::fs::rename(&fresh, &path))
            .map_err(|error| Problem::io(&path, &error))
    }
}

fn not_initialised() -> Problem {
    let message = "this state directory has no certificate authority yet: \
                   `legwork serve --init` makes one";
    Problem::new(Code::FailedPrecondition, "NOT_INITIALISED", message)
}
