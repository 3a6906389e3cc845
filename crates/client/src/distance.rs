//! How far away a server is, by how long its first answer took.
//!
//! A mirror's session begins with a guess at what a byte on the way costs, which this is. On links that differ, the session finds
//! that out by itself after a while.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use legwork_sync::push::{self, Compress};

/// A server whose first answer took less is on this machine or beside it, on a link that takes more than can be compressed.
const NEAR: Duration = Duration::from_millis(5);
/// One whose first answer took longer than this is on a link on which bytes count.
const FAR: Duration = Duration::from_millis(15);

/// How far away a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// In this process.
    Here,
    /// On this machine or beside it.
    Near,
    /// Neither near nor far.
    Between,
    /// On a link on which bytes count.
    Far,
}

impl Distance {
    /// By the time that the first answer took; there is none to a call within one process.
    pub(crate) fn of(first_answer: Option<Duration>) -> Self {
        match first_answer {
            None => Self::Here,
            Some(answer) if answer < NEAR => Self::Near,
            Some(answer) if answer > FAR => Self::Far,
            Some(_) => Self::Between,
        }
    }

    /// How content is compressed at first, where that is for us to decide.
    pub(crate) fn compress(self, asked: Compress) -> Compress {
        match (asked, self) {
            (Compress::Auto, Self::Here) => Compress::Nothing,
            (Compress::Auto, Self::Near) => Compress::Near,
            (asked, _) => asked,
        }
    }

    /// Settles what depends on it.
    pub(crate) fn suit(self, options: &mut push::Options) {
        options.compress = self.compress(options.compress);
        options.slow |= self == Self::Far;
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Near => "near",
            Self::Between => "between",
            Self::Far => "far",
        }
    }
}

/// One word, which [`FromStr`] takes.
impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// No word for a distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no distance")]
pub struct NoDistance;

impl FromStr for Distance {
    type Err = NoDistance;

    fn from_str(word: &str) -> Result<Self, NoDistance> {
        let all = [Self::Here, Self::Near, Self::Between, Self::Far];
        all.into_iter()
            .find(|distance| distance.word() == word)
            .ok_or(NoDistance)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use legwork_sync::push::Compress;

    use super::{Distance, NoDistance};

    #[test]
    fn an_answer_tells_it_and_it_has_a_word() {
        let of = |millis| Distance::of(Some(Duration::from_millis(millis)));
        let all = [Distance::of(None), of(4), of(10), of(16)];
        let words = all.map(|distance| distance.to_string());
        assert_eq!(words, ["here", "near", "between", "far"]);
        for (distance, word) in all.into_iter().zip(words) {
            assert_eq!(word.parse(), Ok(distance));
        }
        assert_eq!("nowhere".parse::<Distance>(), Err(NoDistance));
    }

    #[test]
    fn what_is_asked_for_is_done_at_any_distance() {
        for distance in [Distance::Here, Distance::Near, Distance::Far] {
            for asked in [Compress::Zstd, Compress::Nothing] {
                assert_eq!(distance.compress(asked), asked);
            }
        }
        assert_eq!(Distance::Near.compress(Compress::Auto), Compress::Near);
        assert_eq!(Distance::Here.compress(Compress::Auto), Compress::Nothing);
        assert_eq!(Distance::Far.compress(Compress::Auto), Compress::Auto);
    }
}
