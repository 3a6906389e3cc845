//! Moments as people and programs read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// In UTC, to the microsecond.
pub(crate) fn rfc3339(micros: u64) -> String {
    stamp(micros).map_or_else(|| "?".to_owned(), |stamp| format!("{stamp:.6}"))
}

/// By the clock of this machine, to the millisecond.
pub(crate) fn local(micros: u64) -> String {
    stamp(micros).map_or_else(
        || "?".to_owned(),
        |stamp| {
            let local = stamp.to_zoned(TimeZone::system());
            local.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
        },
    )
}

/// As `ps` shows when something began: the time of day, or the date if that is not today.
pub(crate) fn short(micros: u64, now: u64) -> String {
    let zone = TimeZone::system();
    match (stamp(micros), stamp(now)) {
        (Some(then), Some(now)) => {
            let (then, now) = (then.to_zoned(zone.clone()), now.to_zoned(zone));
            let form = match () {
                () if then.date() == now.date() => "%H:%M",
                () if then.year() == now.year() => "%b%d",
                () => "%Y",
            };
            then.strftime(form).to_string()
        }
        _ => "?".to_owned(),
    }
}

fn stamp(micros: u64) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()
}
