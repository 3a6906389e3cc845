//! A host's processes as they were at a time.

use legwork_proto::v1 as wire;
use legwork_proto::v1::record_service_client::RecordServiceClient;
use wire::at_response::Message;

use crate::client::Client;
use crate::contact;
use crate::error::{CallError, Result};

/// Whose processes, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AtQuery {
    /// The stream to which snapshots are sent; empty for `process`.
    pub stream: String,
    /// Who sent it; empty for whoever did.
    pub client: String,
    /// Of which host; empty for the only one.
    pub host: String,
    /// In microseconds since 1970, by the clock of the host; `None` for now.
    pub time_us: Option<u64>,
}

/// The snapshot that was made last before a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessesAt {
    /// Who sent it.
    pub client: String,
    /// Of which host.
    pub host: String,
    /// When it was made, in microseconds since 1970.
    pub time_us: u64,
    /// When the next one was.
    pub next_us: Option<u64>,
    /// What it says of the host, a JSON object.
    pub facts: Vec<u8>,
    /// How often snapshots were planned, in milliseconds; 0 for one alone.
    pub every_ms: u64,
    /// How much later than planned it was made, in milliseconds.
    pub late_ms: u64,
    /// The processes by number, a JSON object each.
    pub processes: Vec<Vec<u8>>,
}

impl Client {
    /// What ran on a host at a time.
    ///
    /// # Errors
    /// `NO_SNAPSHOT`, `SNAPSHOTS_LOST`, `SEVERAL_HOSTS`, and what the server or the connection says, as in every call.
    pub async fn processes_at(&self, query: &AtQuery) -> Result<ProcessesAt> {
        let request = wire::AtRequest {
            stream: query.stream.clone(),
            client: query.client.clone(),
            host: query.host.clone(),
            time: query.time_us,
        };
        let call = |channel| {
            let request = request.clone();
            async move {
                RecordServiceClient::with_origin(channel, contact::origin())
                    .at(request)
                    .await
            }
        };
        let mut answers = self.contact.repeat(call).await?;
        let mut found: Option<ProcessesAt> = None;
        let mut count = 0;
        while let Some(answer) = answers.message().await? {
            match (answer.message, &mut found) {
                (Some(Message::Snapshot(told)), None) => {
                    count = told.count;
                    found = Some(ProcessesAt {
                        client: told.client,
                        host: told.host,
                        time_us: told.time,
                        next_us: told.next_time,
                        facts: told.facts.into(),
                        every_ms: told.every_ms,
                        late_ms: told.late_ms,
                        processes: Vec::new(),
                    });
                }
                (Some(Message::Rows(rows)), Some(found)) => {
                    let rows = rows.processes.into_iter().map(Into::into);
                    found.processes.extend(rows);
                }
                _ => return Err(CallError::protocol("an answer in another order")),
            }
        }
        let found = found.filter(|found| found.processes.len() as u64 == u64::from(count));
        found.ok_or_else(|| CallError::protocol("a table that is not whole"))
    }
}
