//! Times in the forms that certificates, databases and people use.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use time::OffsetDateTime;

/// The last second that a certificate can name: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// The time some while later. Stops at the end of time instead of overflowing.
pub(crate) fn after(time: UnixTime, span: Duration) -> UnixTime {
    let since = Duration::from_secs(time.as_secs()).saturating_add(span);
    UnixTime::since_unix_epoch(since)
}

/// The time some while earlier, not before 1970.
pub(crate) fn before(time: UnixTime, span: Duration) -> UnixTime {
    let since = Duration::from_secs(time.as_secs()).saturating_sub(span);
    UnixTime::since_unix_epoch(since)
}

/// Seconds since the epoch, for a database. Stops at the end of the year 9999.
pub(crate) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).map_or(LAST_SECOND, |seconds| seconds.min(LAST_SECOND))
}

/// The reverse of [`seconds`]. What is before 1970 is taken for 1970.
pub(crate) fn from_seconds(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// The date and time of day, in UTC.
pub(crate) fn calendar(time: UnixTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds(time)).expect("stops at the year 9999")
}

/// For people: `2026-01-31T12:00:00Z`.
pub(crate) fn text(time: UnixTime) -> String {
    let at = calendar(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::{UnixTime, after, before, calendar, from_seconds, seconds, text};
    use std::time::Duration;

    #[test]
    fn written_as_people_expect() {
        assert_eq!(text(from_seconds(0)), "1970-01-01T00:00:00Z");
        assert_eq!(text(from_seconds(1_769_860_805)), "2026-01-31T12:00:05Z");
    }

    #[test]
    fn the_ends_of_time_hold() {
        let end = UnixTime::since_unix_epoch(Duration::MAX);
        assert_eq!(after(end, Duration::MAX), end);
        assert_eq!(before(from_seconds(1), Duration::MAX), from_seconds(0));
        assert_eq!(calendar(end).year(), 9999);
        assert_eq!(from_seconds(seconds(from_seconds(-1))), from_seconds(0));
    }
}
