//! What a line of the audit log says.

use std::net::IpAddr;
use std::time::Duration;

use legwork_identity::{Principal, Via};
use serde_json::{Value, json};
use tonic::Code;

use super::tally::Repeats;
use crate::access::Call;
use crate::metrics;

/// Characters of a subject or a reason.
const TEXT_MAX: usize = 200;

/// Whose doing it was.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Somebody who is known.
    Known {
        /// As lines of records name its sender.
        client: String,
        /// What tells it from all others.
        id: String,
        roles: String,
        via: &'static str,
    },
    /// Somebody who has shown nothing, or is nobody any more.
    Stranger,
    /// Too many to tell them apart.
    Others,
    /// The server itself.
    Server,
}

/// What was seen of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen<'a> {
    pub(super) event: &'static str,
    pub(super) method: &'static str,
    pub(super) code: Code,
    pub(super) reason: &'a str,
}

impl Who {
    pub(super) fn of(call: &Call) -> Self {
        call.principal().map_or(Self::Stranger, Self::known)
    }

    fn known(principal: &Principal) -> Self {
        Self::Known {
            client: crate::records::ingest::client_name(principal),
            id: principal.id.to_string(),
            roles: principal.roles.to_string(),
            via: match principal.via {
                Via::Certificate => "certificate",
                Via::LocalSocket { .. } => "socket",
                Via::InProcess => "process",
            },
        }
    }

    /// As a line of records names its sender. No identity has a colon in its name.
    pub(super) fn client(&self) -> String {
        match self {
            Self::Known { client, .. } => client.clone(),
            Self::Stranger => "legwork:stranger".to_owned(),
            Self::Others => "legwork:others".to_owned(),
            Self::Server => "legwork:server".to_owned(),
        }
    }
}

/// One call.
pub(super) fn one(seen: &Seen<'_>, who: &Who, call: &Call, took: Option<Duration>) -> Value {
    let mut line = begin(seen, who);
    let more = [
        ("subject", call.subject().map(|text| json!(short(text)))),
        ("source", call.source().map(|source| json!(source))),
        (
            "ms",
            took.map(|took| json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))),
        ),
    ];
    for (key, value) in more {
        if let Some(value) = value {
            line[key] = value;
        }
    }
    line
}

/// A connection on which there was no call.
pub(super) fn connection(seen: &Seen<'_>, who: &Who, source: IpAddr) -> Value {
    let mut line = begin(seen, who);
    line["source"] = json!(source);
    line
}

/// Several of the same kind.
pub(super) fn many(repeats: &Repeats) -> Value {
    let seen = Seen {
        event: repeats.event,
        method: repeats.method,
        code: repeats.code,
        reason: &repeats.reason,
    };
    let mut line = begin(&seen, &repeats.who);
    line["count"] = json!(repeats.count);
    line["from"] = json!(repeats.from.to_string());
    line["to"] = json!(repeats.to.to_string());
    if !repeats.sources.is_empty() {
        line["sources"] = json!(repeats.sources);
    }
    line
}

/// Lines that the log did not take.
pub(super) fn dropped(lines: u64) -> Value {
    json!({ "event": "dropped", "count": lines })
}

/// What the server itself did.
pub(super) fn server(event: &str) -> Value {
    json!({ "event": event, "version": env!("CARGO_PKG_VERSION") })
}

/// Where a call came from, as the name of a host.
pub(super) fn host(line: &Value) -> String {
    line["source"].as_str().unwrap_or("local").to_owned()
}

fn begin(seen: &Seen<'_>, who: &Who) -> Value {
    let mut line = json!({
        "event": seen.event,
        "method": seen.method,
        "code": metrics::code(seen.code),
    });
    if !seen.reason.is_empty() {
        line["reason"] = json!(short(seen.reason));
    }
    if let Who::Known { id, roles, via, .. } = who {
        line["principal_id"] = json!(id);
        line["roles"] = json!(roles);
        line["via"] = json!(via);
    }
    line
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}
