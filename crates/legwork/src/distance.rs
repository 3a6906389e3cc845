//! How far away a server was the last time, so that the next mirror of a far one need not wait until that is known.
//!
//! A connection to a far server takes a round trip or two, in which a whole tree can be looked at. But how content is sent depends on
//! the distance, and that is only known afterwards: so it is remembered beside what else this client knows of the server. To a near one
//! there is nothing to be gained, and nothing is remembered.

use std::path::{Path, PathBuf};

use legwork_client::{Client, Distance};

fn file(memory: &Path) -> PathBuf {
    memory.join("distance")
}

/// How far away the server with this memory was, if it was not near.
pub(crate) fn expected(memory: &Path) -> Option<Distance> {
    let word = std::fs::read_to_string(file(memory)).ok()?;
    word.trim().parse().ok()
}

/// Takes note of how far away the server turned out to be.
pub(crate) async fn remember(client: &Client, memory: &Path) {
    let Some(now) = client.distance().await else {
        return;
    };
    let was = expected(memory);
    let kept = kept(was, now);
    if kept == was {
        return;
    }
    let file = file(memory);
    // Nothing depends on it but time, so nothing fails for it.
    match kept {
        Some(distance) => drop(std::fs::write(file, format!("{distance}\n"))),
        None => drop(std::fs::remove_file(file)),
    }
}

/// What is to be remembered of a server that was this far away, and now is that far.
fn kept(was: Option<Distance>, now: Distance) -> Option<Distance> {
    match (was, now) {
        (_, Distance::Here | Distance::Near) => None,
        // While the tree was looked at, even an answer that was there in time may have had to wait. The next command measures it without.
        (Some(Distance::Between), Distance::Far) => None,
        (_, Distance::Between | Distance::Far) => Some(now),
    }
}

#[cfg(test)]
mod tests {
    use legwork_client::Distance::{Between, Far, Here, Near};

    use super::{expected, file, kept};

    #[test]
    fn only_what_is_not_near_is_remembered_and_what_may_be_wrong_is_measured_again() {
        for was in [None, Some(Between), Some(Far)] {
            assert_eq!((kept(was, Here), kept(was, Near)), (None, None));
            assert_eq!(kept(was, Between), Some(Between));
        }
        assert_eq!(kept(None, Far), Some(Far));
        assert_eq!(kept(Some(Far), Far), Some(Far));
        assert_eq!(kept(Some(Between), Far), None);
    }

    #[test]
    fn what_is_no_distance_is_as_good_as_nothing() {
        let memory = tempfile::tempdir().unwrap();
        assert_eq!(expected(memory.path()), None);
        for (text, means) in [
            ("far\n", Some(Far)),
            ("between", Some(Between)),
            ("no", None),
        ] {
            std::fs::write(file(memory.path()), text).unwrap();
            assert_eq!(expected(memory.path()), means);
        }
    }
}
