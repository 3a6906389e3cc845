//! A moment on the command line: so long ago, a date, or a time of day.

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Microseconds since the epoch of `15m`, `2h 30m`, `now`, `2026-11-22T12:00:00Z`, seconds since the epoch as `@1795348800`, or by the
/// clock of this machine `2026-11-22 12:00` and `12:00`, the last time that it was so late.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    at(text, Timestamp::now(), &TimeZone::system())
}

fn at(text: &str, now: Timestamp, zone: &TimeZone) -> Result<u64, String> {
    let unknown = || {
        format!(
            "{text:?} is neither a time ago like 15m or 2h30m, nor a date like 2026-11-22T12:00:00Z or 2026-11-22 12:00, nor a time of day \
             like 12:00, nor @SECONDS"
        )
    };
    let moment = if text == "now" {
        now
    } else if let Some(seconds) = text.strip_prefix('@') {
        let seconds: f64 = seconds.parse().map_err(|_| unknown())?;
        let since = Duration::try_from_secs_f64(seconds).map_err(|_| unknown())?;
        Timestamp::UNIX_EPOCH
            .checked_add(since)
            .map_err(|_| unknown())?
    } else if let Ok(ago) = humantime::parse_duration(text.trim_end_matches(" ago")) {
        now.checked_sub(ago).map_err(|_| unknown())?
    } else if let Ok(moment) = text.parse() {
        moment
    } else {
        by_the_clock(text, now, zone).ok_or_else(unknown)?
    };
    u64::try_from(moment.as_microsecond()).map_err(|_| unknown())
}

/// A time where this machine is.
fn by_the_clock(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let there = |local: DateTime| Some(zone.to_zoned(local).ok()?.timestamp());
    if text.contains('-') {
        return there(text.replacen(' ', "T", 1).parse().ok()?);
    }
    let time: Time = text.parse().ok()?;
    let today = zone.to_datetime(now).date();
    let moment = there(today.to_datetime(time))?;
    if moment <= now {
        return Some(moment);
    }
    moment.checked_sub(SignedDuration::from_hours(24)).ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::{TimeZone, offset};

    use super::at;

    #[test]
    fn moments_are_ago_or_dates() {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(offset(2));
        let micros = 1_795_348_800_000_000;
        for (text, expected) in [
            ("now", micros),
            ("15m", micros - 900_000_000),
            ("2h 30m ago", micros - 9_000_000_000),
            ("2026-11-22T13:00:00+01:00", micros),
            ("2026-11-22T12:00:00.000001Z", micros + 1),
            ("@1795348800.5", micros + 500_000),
            ("2026-11-22 14:00", micros),
            ("2026-11-22T14:00:00.5", micros + 500_000),
            ("14:00", micros),
            ("15:00", micros - 23 * 3_600_000_000),
        ] {
            assert_eq!(at(text, now, &zone), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "@x",
            "@-1",
            "1960-01-01T00:00:00Z",
            "900y",
            "25:00",
            "2026-13-01",
        ] {
            assert!(at(bad, now, &zone).is_err(), "{bad}");
        }
    }
}
