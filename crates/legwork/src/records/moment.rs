//! A moment on the command line: so long ago, or a date.

use std::time::Duration;

use jiff::Timestamp;

/// Microseconds since the epoch of `15m`, `2h 30m`, `now`, `2026-11-22T12:00:00Z`, or seconds since the epoch as `@1795348800`.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    at(text, Timestamp::now())
}

fn at(text: &str, now: Timestamp) -> Result<u64, String> {
    let unknown = || {
        format!(
            "{text:?} is neither a time ago like 15m or 2h30m, nor a date like 2026-11-22T12:00:00Z, nor @SECONDS"
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
    } else {
        text.parse().map_err(|_| unknown())?
    };
    u64::try_from(moment.as_microsecond()).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn moments_are_ago_or_dates() {
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let micros = 1_795_348_800_000_000;
        for (text, expected) in [
            ("now", micros),
            ("15m", micros - 900_000_000),
            ("2h 30m ago", micros - 9_000_000_000),
            ("2026-11-22T13:00:00+01:00", micros),
            ("2026-11-22T12:00:00.000001Z", micros + 1),
            ("@1795348800.5", micros + 500_000),
        ] {
            assert_eq!(at(text, now), Ok(expected), "{text}");
        }
        for bad in ["", "yesterday", "@x", "@-1", "1960-01-01T00:00:00Z", "900y"] {
            assert!(at(bad, now).is_err(), "{bad}");
        }
    }
}
