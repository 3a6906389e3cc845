//! Who keeps the workspace in step with a directory, as `watch` does: others must not write in between.
//!
//! A hold is renewed by each session of its holder and lapses by itself, so one that died holds nothing for long.
//! Encoded as `holder, until when (nanoseconds since the epoch), name`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::error::StoreError;
use crate::message::{Refusal, Writer};
use crate::push::since_epoch;
use crate::store::codec::{self, Format, Reader};
use crate::store::{self, Replacement};

/// How long a hold lasts that is not renewed.
pub(crate) const LASTS: Duration = Duration::from_secs(60);
/// Bytes of a holder's name at most; the rest is cut off.
const MAX_NAME: usize = 512;

pub(crate) const FORMAT: Format = Format {
    magic: *b"lwhold\0\0",
    version: 1,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    holder: Digest,
    until_ns: u64,
    name: String,
}

impl Hold {
    fn is_in_force(&self, now: SystemTime) -> bool {
        // A hold from the far future was made by a clock that was wrong.
        self.until_ns > nanoseconds(now) && self.until_ns <= nanoseconds(now + LASTS)
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    u64::try_from(since_epoch(time)).unwrap_or(0)
}

/// The hold that is recorded at `path`. One that is damaged holds nothing.
fn load(path: &Path) -> Result<Option<Hold>, StoreError> {
    let Some(bytes) = store::read(path)? else {
        return Ok(None);
    };
    match decode(&bytes, path) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        hold => hold.map(Some),
    }
}

pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Hold, StoreError> {
    let mut reader = Reader::new(FORMAT, bytes, path)?;
    Ok(Hold {
        holder: reader.digest()?,
        until_ns: reader.u64()?,
        name: String::from_utf8_lossy(reader.bytes()?).into_owned(),
    })
}

fn save(path: &Path, hold: &Hold) -> Result<(), StoreError> {
    let mut writer = codec::Writer::new(FORMAT, 128);
    writer.digest(&hold.holder);
    writer.u64(hold.until_ns);
    writer.bytes(hold.name.as_bytes());
    Replacement::of(path)?.finish(&writer.finish())
}

/// Lets `writer` write at `now`, if nobody else holds the workspace or it takes over; who keeps it in step holds it from
/// then on, until it leaves.
pub(crate) fn claim(path: &Path, writer: &Writer, now: SystemTime) -> Result<(), Refusal> {
    let other = load(path)?.filter(|hold| hold.holder != writer.id && hold.is_in_force(now));
    if let Some(other) = &other
        && !writer.takeover
    {
        let name = other.name.clone();
        return Err(Refusal::OtherWriter { name });
    }
    if writer.leaves {
        return Ok(store::remove(path)?);
    }
    if writer.keeps || other.is_some() {
        hold(path, writer, now)?;
    }
    Ok(())
}

/// Makes `writer` the holder at `now`, whoever is.
pub(crate) fn hold(path: &Path, writer: &Writer, now: SystemTime) -> Result<(), StoreError> {
    let end = writer.name.floor_char_boundary(MAX_NAME);
    let hold = Hold {
        holder: writer.id,
        until_ns: nanoseconds(now + LASTS),
        name: writer.name[..end].to_owned(),
    };
    save(path, &hold)
}

/// Who holds the workspace, or did.
pub(crate) fn holder(path: &Path) -> Result<Option<Digest>, StoreError> {
    Ok(load(path)?.map(|hold| hold.holder))
}

/// Refuses if somebody else than these holds the workspace at `now`.
pub(crate) fn check(path: &Path, holders: &[Digest], now: SystemTime) -> Result<(), Refusal> {
    let held = load(path)?.filter(|hold| !holders.contains(&hold.holder) && hold.is_in_force(now));
    match held {
        Some(Hold { name, .. }) => Err(Refusal::OtherWriter { name }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{LASTS, claim, load};
    use crate::digest::Digest;
    use crate::message::{Refusal, Writer};

    fn writer(name: &str, keeps: bool) -> Writer {
        Writer {
            id: Digest::of(name.as_bytes()),
            name: name.to_owned(),
            keeps,
            takeover: false,
            leaves: false,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn who_watches_holds_it_until_it_stops_renewing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("hold");
        let (one, two) = (writer("one", true), writer("two", false));
        claim(&path, &two, at(1000)).unwrap();
        assert_eq!(load(&path).unwrap(), None, "a single push holds nothing");
        claim(&path, &one, at(1000)).unwrap();
        claim(&path, &one, at(1020)).unwrap();
        let refused = Refusal::OtherWriter {
            name: "one".to_owned(),
        };
        assert_eq!(claim(&path, &two, at(1079)), Err(refused.clone()));
        claim(&path, &two, at(1080)).unwrap();
        // Its own pushes pass, whoever makes them.
        claim(&path, &one, at(1020)).unwrap();
        claim(&path, &writer("one", false), at(1021)).unwrap();
        // It may be taken over, which the first finds out.
        let over = Writer {
            takeover: true,
            ..two.clone()
        };
        claim(&path, &over, at(1030)).unwrap();
        assert!(matches!(
            claim(&path, &one, at(1040)),
            Err(Refusal::OtherWriter { name }) if name == "two"
        ));
        let leaving = |writer: &Writer| Writer {
            leaves: true,
            ..writer.clone()
        };
        assert!(
            claim(&path, &leaving(&one), at(1040)).is_err(),
            "not its to end"
        );
        claim(&path, &leaving(&two), at(1040)).unwrap();
        claim(&path, &one, at(1040)).unwrap();
        // A clock that was wrong, and goes right.
        claim(&path, &one, at(9_000_000)).unwrap();
        claim(&path, &two, at(1050)).unwrap();
    }

    #[test]
    fn its_encoding_is_pinned_and_damage_holds_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("hold");
        claim(&path, &writer("one", true), at(1000)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut golden = b"lwhold\0\0\x01\0\0\0".to_vec();
        golden.extend_from_slice(Digest::of(b"one").as_bytes());
        golden.extend_from_slice(&(1_000_000_000_000 + 60_000_000_000_u64).to_le_bytes());
        golden.extend_from_slice(b"\x03\0one");
        assert_eq!(bytes[..bytes.len() - 32], golden);
        assert_eq!(LASTS.as_secs(), 60);
        std::fs::write(&path, &bytes[..20]).unwrap();
        claim(&path, &writer("two", false), at(1001)).unwrap();
    }

    #[test]
    fn a_very_long_name_is_cut() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("hold");
        claim(&path, &writer(&"ü".repeat(40_000), true), at(1000)).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().name.len(), 512);
    }
}
