//! A table as messages.

use legwork_processes::Table;
use legwork_proto::v1 as wire;
use wire::at_response::Message;

use super::find::Of;

/// Bytes of processes in one message, about.
const ROWS_BYTES: usize = 256 << 10;

/// What it says, then its processes.
pub(super) fn messages(of: &Of, table: &Table, next: Option<i64>) -> Vec<wire::AtResponse> {
    let micros = |time: i64| u64::try_from(time).unwrap_or(0);
    let snapshot = wire::AtSnapshot {
        client: of.client.clone(),
        host: of.host.clone(),
        time: micros(table.observed),
        next_time: next.map(micros),
        facts: json(&table.host).into(),
        every_ms: table.header.every_ms,
        late_ms: table.header.late_ms.unwrap_or(0),
        count: u32::try_from(table.processes.len()).unwrap_or(u32::MAX),
    };
    let mut messages = vec![message(Message::Snapshot(snapshot))];
    let (mut rows, mut bytes) = (wire::AtRows::default(), 0);
    for process in table.processes.values() {
        let text = json(process);
        bytes += text.len();
        rows.processes.push(text.into());
        if bytes > ROWS_BYTES {
            messages.push(message(Message::Rows(std::mem::take(&mut rows))));
            bytes = 0;
        }
    }
    if !rows.processes.is_empty() {
        messages.push(message(Message::Rows(rows)));
    }
    messages
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what was read as JSON can be printed")
}

fn message(message: Message) -> wire::AtResponse {
    wire::AtResponse {
        message: Some(message),
    }
}
