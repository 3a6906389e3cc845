//! Which versions of the protocol are spoken, and what is said to whoever speaks another.
//!
//! A client may say in the metadata of a call, under [`HEADER`], which version it was made for. One that says nothing is
//! taken to have been made for this one: messages only ever gain fields.

use http::HeaderMap;
use tonic::Code;

use crate::problem::Problem;

/// Newest version that this server speaks.
pub(crate) const NEWEST: u32 = 1;
/// Oldest. From the second on, it is the one before the newest.
const OLDEST: u32 = 1;
/// Where a client says which one it was made for.
const HEADER: &str = "legwork-protocol";

/// Whether the version that a call names is spoken.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(named) = headers.get(HEADER) else {
        return Ok(());
    };
    let named = named.to_str().ok().and_then(|text| text.parse().ok());
    let version: u32 = named.ok_or_else(|| {
        Problem::malformed(&format!(
            "the metadata {HEADER} is a number, such as {NEWEST}"
        ))
    })?;
    let (reason, old, remedy) = match version {
        OLDEST..=NEWEST => return Ok(()),
        ..OLDEST => ("PROTOCOL_TOO_OLD", "old", "upgrade the client"),
        _ => ("PROTOCOL_TOO_NEW", "new", "upgrade the server"),
    };
    let message = format!(
        "the client speaks version {version} of the protocol, which is too {old}: \
         this server speaks {OLDEST} to {NEWEST}; {remedy}"
    );
    Err(Problem::new(Code::FailedPrecondition, reason, message)
        .with("client", version)
        .with("oldest", OLDEST)
        .with("newest", NEWEST))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{HEADER, NEWEST, OLDEST, check};

    fn reason(version: &str) -> Option<&'static str> {
        let value = HeaderValue::from_str(version).unwrap();
        let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), value)]);
        check(&headers).err().map(|problem| problem.reason)
    }

    #[test]
    fn the_two_newest_versions_are_spoken() {
        assert_eq!(check(&HeaderMap::new()), Ok(()));
        assert_eq!(reason(&NEWEST.to_string()), None);
        assert_eq!(reason(&OLDEST.to_string()), None);
        assert_eq!(OLDEST, NEWEST.saturating_sub(1).max(1));
        assert_eq!(reason(&(OLDEST - 1).to_string()), Some("PROTOCOL_TOO_OLD"));
        assert_eq!(reason(&(NEWEST + 1).to_string()), Some("PROTOCOL_TOO_NEW"));
        assert_eq!(reason("one"), Some("MALFORMED"));
    }
}
