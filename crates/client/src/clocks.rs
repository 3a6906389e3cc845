//! Clocks that disagree: the usual reason why a good certificate is not valid now.
//!
//! What a handshake says of dates is said by one clock alone. So where it fails for a date, the server is asked for its time, on
//! a connection as a stranger's: every server tells it to them, as the particular `serverTimeS` of its refusal.

use std::sync::Arc;
use std::time::Duration;

use legwork_identity::invite::Address;
use legwork_identity::{TimeProvider, UnixTime};
use legwork_proto::v1 as wire;
use legwork_proto::v1::host_service_client::HostServiceClient;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use crate::connect::Channel;
use crate::contact;
use crate::dial;
use crate::error::CallError;

/// How far apart two clocks may be without a word.
const APART: Duration = Duration::from_mins(1);

/// The particular that is a server's time.
const SERVER_TIME: &str = "serverTimeS";

/// What to say when the clocks of this machine and of the server disagree by more than a minute.
#[must_use]
pub fn skew(here: UnixTime, server: UnixTime) -> Option<String> {
    let apart = Duration::from_secs(here.as_secs().abs_diff(server.as_secs()));
    if apart < APART {
        return None;
    }
    let ahead = here.as_secs() > server.as_secs();
    Some(format!(
        "the clocks disagree: this machine's says {} and the server's {}, so this machine's is {} {}",
        text(here),
        text(server),
        humantime::format_duration(apart),
        if ahead { "ahead" } else { "behind" },
    ))
}

/// As people write it, in UTC.
pub(crate) fn text(at: UnixTime) -> String {
    let since = Duration::from_secs(at.as_secs());
    // Beyond the year 9999 there is no such text.
    std::time::UNIX_EPOCH
        .checked_add(since)
        .filter(|_| at.as_secs() < 253_402_300_800)
        .map(|at| humantime::format_rfc3339_seconds(at).to_string())
        .unwrap_or_else(|| format!("{} s after 1970", at.as_secs()))
}

/// Shows the same time for ever.
#[derive(Debug)]
struct Stopped(UnixTime);

impl TimeProvider for Stopped {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// Where and how a server can be asked for its time.
pub(crate) struct Asking<'a, Made> {
    pub(crate) addresses: &'a [Address],
    /// The end of a client without a certificate, by the given clock.
    pub(crate) stranger: Made,
    pub(crate) clock: &'a Arc<dyn TimeProvider>,
    pub(crate) limit: Duration,
    pub(crate) tasks: &'a TaskTracker,
}

impl<Made> Asking<'_, Made>
where
    Made: Fn(Arc<dyn TimeProvider>) -> Option<TlsConnector>,
{
    /// Says what the server's clock says, where an error is about a date and the server can be asked.
    pub(crate) async fn explain(&self, mut error: CallError) -> CallError {
        let Some(clock) = self.clock_for(&error) else {
            return error;
        };
        let asked = tokio::time::timeout(self.limit, self.ask(clock)).await;
        let server = asked.ok().flatten();
        if let (Some(server), Some(here)) = (server, self.clock.current_time()) {
            let seconds = server.as_secs().to_string();
            error.metadata.insert(SERVER_TIME.to_owned(), seconds);
            if let Some(skew) = skew(here, server) {
                error.message.push_str("; ");
                error.message.push_str(&skew);
            }
        }
        error
    }

    /// By which clock the server's certificate is good. Whoever the authority has vouched for once is believed about the
    /// time, and about nothing else.
    fn clock_for(&self, error: &CallError) -> Option<Arc<dyn TimeProvider>> {
        let bound = match error.reason.as_str() {
            CallError::REFUSED_NOW => return Some(Arc::clone(self.clock)),
            CallError::SERVER_EXPIRED => CallError::NOT_AFTER,
            CallError::SERVER_NOT_YET_VALID => CallError::NOT_BEFORE,
            _ => return None,
        };
        let seconds = error.metadata.get(bound)?.parse().ok()?;
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        Some(Arc::new(Stopped(at)))
    }

    async fn ask(&self, clock: Arc<dyn TimeProvider>) -> Option<UnixTime> {
        let connector = (self.stranger)(clock)?;
        let stream = dial::tls(self.addresses, &connector, self.limit).await;
        let channel = Channel::over(Box::new(stream.ok()?), None, self.tasks).await;
        let mut host = HostServiceClient::with_origin(channel.ok()?, contact::origin());
        let refused = host.info(wire::InfoRequest {}).await.err()?;
        server_time(&CallError::from(refused))
    }
}

/// What a server's clock said when it refused, if the refusal tells.
pub(crate) fn server_time(error: &CallError) -> Option<UnixTime> {
    let seconds = error.metadata.get(SERVER_TIME)?.parse().ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use legwork_identity::UnixTime;

    use super::{skew, text};

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn clocks_that_disagree_are_told_with_both_times() {
        assert_eq!(skew(at(10_030), at(10_000)), None);
        assert_eq!(skew(at(10_000), at(10_059)), None);
        let told = skew(at(13_600), at(10_000)).unwrap();
        for part in [
            "says 1970-01-01T03:46:40Z",
            "1970-01-01T02:46:40Z",
            "is 1h ahead",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert!(skew(at(0), at(120)).unwrap().ends_with("is 2m behind"));
        assert_eq!(text(at(u64::MAX)), format!("{} s after 1970", u64::MAX));
    }
}
