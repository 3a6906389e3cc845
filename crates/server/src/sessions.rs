//! The connections of each identity, so that revoking it ends them, streams that are open included.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Who is connected. Entries are as many as there are connections at most.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<Uuid, Open>>);

#[derive(Debug, Default)]
struct Open {
    end: CancellationToken,
    connections: usize,
}

/// One connection of an identity, while it lives.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    sessions: &'a Sessions,
    id: Uuid,
    end: CancellationToken,
}

impl Sessions {
    /// Counts a connection. From here on, revoking its identity ends it.
    pub(crate) fn open(&self, id: Uuid) -> Session<'_> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = sessions.entry(id).or_default();
        open.connections += 1;
        Session {
            sessions: self,
            id,
            end: open.end.clone(),
        }
    }

    /// Ends all connections that an identity has now. Those that it makes later are strangers'.
    pub(crate) fn end(&self, id: Uuid) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = sessions.get_mut(&id) {
            std::mem::take(&mut open.end).cancel();
        }
    }
}

impl Session<'_> {
    /// Comes when the connection has to end.
    pub(crate) async fn ended(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let mut sessions = self
            .sessions
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = sessions.get_mut(&self.id) {
            open.connections -= 1;
            if open.connections == 0 {
                sessions.remove(&self.id);
            }
        }
    }
}
