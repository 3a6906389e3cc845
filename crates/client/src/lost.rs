//! Calls that ended without the server's word: how they are told from answers, and what to say of them.

use std::error::Error;
use std::io;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::CallError;

/// A call that failed before any of it was sent.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed before the call was sent")]
pub(crate) struct NotSent(#[source] pub(crate) hyper::Error);

/// Whether a call ended without the server's word on it: the connection broke, the server is going away, or it does not serve this
/// connection because there are too many.
pub(crate) fn is_lost(status: &Status) -> bool {
    // A status with a cause was made on this side, of whatever code: when a server says goodbye before its connection
    // breaks, that is `Unknown`.
    if status.source().is_some() {
        return true;
    }
    match status.get_details_error_info() {
        Some(info) => ["SHUTTING_DOWN", CallError::TOO_MANY_CONNECTIONS].contains(&&*info.reason),
        None => matches!(status.code(), Code::Unavailable | Code::Unknown),
    }
}

/// Whether a call that was lost cannot have done anything: the server has not seen it, or would not look at it.
pub(crate) fn is_unsent(status: &Status) -> bool {
    is_excess(status) || chain(status.source()).any(<dyn Error + 'static>::is::<NotSent>)
}

/// Whether the server has refused the connection because we have too many. Another one is served once one of the others has
/// ended.
pub(crate) fn is_excess(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.reason == CallError::TOO_MANY_CONNECTIONS)
}

/// What to say of a call that was lost.
pub(crate) fn in_words(status: &Status) -> String {
    match status.source() {
        Some(cause) => words(cause),
        None if status.message().is_empty() => CLOSED.to_owned(),
        None => status.message().to_owned(),
    }
}

/// Nobody said anything before the connection was gone.
pub(crate) const CLOSED: &str =
    "the server closed the connection without a word: it ended, or something on the way cut it";

/// Nobody said anything, and the connection is still there.
pub(crate) const SILENT: &str = "the server does not answer any more";

/// What to say of a connection that failed. Libraries say what they saw, which tells little to who does not know them.
pub(crate) fn words(error: &(dyn Error + 'static)) -> String {
    for cause in chain(Some(error)) {
        if let Some(cause) = cause.downcast_ref::<hyper::Error>()
            && cause.is_timeout()
        {
            return SILENT.to_owned();
        }
        if let Some(cause) = cause.downcast_ref::<h2::Error>() {
            if let Some(cause) = cause.get_io() {
                return of_stream(cause);
            }
            if cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR) {
                return "the server is going away".to_owned();
            }
        }
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return of_stream(cause);
        }
    }
    if chain(Some(error)).any(<dyn Error + 'static>::is::<NotSent>) {
        return NOT_SENT.to_owned();
    }
    causes(error)
}

const NOT_SENT: &str = "the connection was closed before the call was sent";

fn of_stream(error: &io::Error) -> String {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut, UnexpectedEof,
    };
    match error.kind() {
        // TLS says so where a stream of TCP would just end.
        UnexpectedEof | BrokenPipe | ConnectionReset | ConnectionAborted | NotConnected => {
            CLOSED.to_owned()
        }
        TimedOut => SILENT.to_owned(),
        _ => format!("the connection failed: {}", causes(error)),
    }
}

fn chain<'a>(
    first: Option<&'a (dyn Error + 'static)>,
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(first, |&error| error.source())
}

/// An error with what is behind it, in one line. What says the same as the one before is left out.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in chain(error.source()) {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::{CLOSED, in_words, is_excess, is_lost, is_unsent, words};
    use crate::error::CallError;

    #[test]
    fn a_connection_that_broke_is_never_told_as_an_unknown_error() {
        let status = Status::from_error(Box::new(io::Error::from(io::ErrorKind::UnexpectedEof)));
        assert_eq!(status.code(), Code::Unknown);
        assert!(is_lost(&status));
        assert_eq!(in_words(&status), CLOSED);
        let error = CallError::from(status);
        assert_eq!(
            (error.code, &*error.reason),
            (Code::Unavailable, "UNREACHABLE")
        );
        assert!(error.retryable());
    }

    #[test]
    fn what_a_stream_says_is_told_in_words() {
        let eof = "peer closed connection without sending TLS close_notify";
        let eof = io::Error::new(io::ErrorKind::UnexpectedEof, eof);
        assert_eq!(words(&eof), CLOSED);
        let odd = io::Error::other("it is odd");
        assert_eq!(words(&odd), "the connection failed: it is odd");
        let silent = io::Error::from(io::ErrorKind::TimedOut);
        assert!(words(&silent).contains("does not answer"));
    }

    #[test]
    fn a_connection_too_many_is_lost_and_leaves_no_doubt() {
        let refused = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "legwork", []);
            Status::with_error_details(Code::ResourceExhausted, "why", details)
        };
        let excess = refused("TOO_MANY_CONNECTIONS");
        assert!(is_excess(&excess) && is_lost(&excess) && is_unsent(&excess));
        assert_eq!(CallError::from(excess).message, "why");
        let streams = refused("TOO_MANY_STREAMS");
        assert!(!is_excess(&streams) && !is_lost(&streams) && !is_unsent(&streams));
        let going = refused("SHUTTING_DOWN");
        assert!(is_lost(&going) && !is_unsent(&going));
    }

    #[test]
    fn a_refusal_is_no_loss() {
        assert!(!is_lost(&Status::permission_denied("no")));
        assert!(is_lost(&Status::unavailable("")));
        assert_eq!(in_words(&Status::unavailable("")), CLOSED);
    }
}
