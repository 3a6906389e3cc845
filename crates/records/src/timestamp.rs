//! A moment, as lines of the log tell it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The last one that the library for times knows, a day before the end of the year 9999.
const MAX: i64 = 253_402_207_200_999_999;

/// Microseconds since 1970 in UTC, within the years 1970 to 9999. What lies outside becomes the nearer end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest.
    pub const MIN: Self = Self(0);
    /// The latest.
    pub const MAX: Self = Self(MAX);

    /// From microseconds since 1970.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, MAX))
    }

    /// Microseconds since 1970.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The moment so much earlier.
    #[must_use]
    pub fn earlier_by(self, age: Duration) -> Self {
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// How long before `self` the other one was; zero if it was not before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Reads what [`fmt::Display`] wrote, and any other RFC 3339 form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        Some(Self::from_micros(moment.as_microsecond()))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(MAX))
    }
}

/// RFC 3339 in UTC, always with six digits behind the second.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        let printer = DateTimePrinter::new().precision(Some(6));
        f.write_str(&printer.timestamp_to_string(&moment))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("not a moment of RFC 3339");
        Self::parse(&text).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX, Timestamp};

    #[test]
    fn printed_with_one_length_and_read_again() {
        for micros in [0, 1, 999_999, 1_795_350_095_123_456, MAX] {
            let moment = Timestamp::from_micros(micros);
            let text = moment.to_string();
            assert_eq!(text.len(), 27, "{text}");
            assert_eq!(Timestamp::parse(&text), Some(moment));
        }
        let known = Timestamp::from_micros(1_795_350_095_000_000);
        assert_eq!(known.to_string(), "2026-11-22T12:21:35.000000Z");
    }

    #[test]
    fn what_lies_outside_becomes_the_nearer_end() {
        assert_eq!(Timestamp::from_micros(-5), Timestamp::MIN);
        assert_eq!(Timestamp::from_micros(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
