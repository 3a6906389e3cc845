//! What to look for in lines.
//!
//! A pattern is compiled twice. The first program decides on one line, alone. The second finds in many lines at once those that
//! may match, at the speed at which the library finds literals: it matches wherever the first can, as it has no assertions, and never
//! beyond a line, as nothing in it matches a newline. What it finds, the first confirms.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition,
};

/// Longest pattern, in bytes.
pub const PATTERN_MAX: usize = 16 << 10;
/// Largest program that a pattern may become, in bytes. A class of Unicode takes up to some 40 KiB each time.
const PROGRAM_MAX: usize = 1 << 20;
/// Most characters and classes in a pattern, each as often as it is repeated. The time for a byte of output grows with it.
const PLACES_MAX: usize = 2000;
/// Most memory for what a search remembers of its program's states, in bytes.
const STATES_MAX: usize = 1 << 20;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// A regular expression in the syntax of the crate `regex`, on bytes with Unicode's classes.
    pub pattern: String,
    /// It is text, not an expression.
    pub fixed: bool,
    /// Capital and small letters are the same.
    pub ignore_case: bool,
}

/// Why something cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is no regular expression, or not one that is matched in linear time.
    #[error("the pattern is no regular expression: {what} (at character {column})")]
    Syntax {
        /// What is wrong, in words.
        what: String,
        /// Where, counted from 1.
        column: usize,
    },
    /// It asks for a newline.
    #[error("the pattern has a newline in it, and no line does")]
    Newline,
    /// It is too long to be looked at.
    #[error("the pattern is longer than {PATTERN_MAX} bytes")]
    TooLong,
    /// Searching for it would take too much memory and time.
    #[error(
        "the pattern is too large: it has more than {PLACES_MAX} characters and classes, repeated ones counted each time, or takes \
         more than {PROGRAM_MAX} bytes when compiled; repeat less in it, or use (?-u) for classes of ASCII"
    )]
    TooLarge,
}

/// Finds lines.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Decides on one line.
    line: Regex,
    /// Finds places in whole lines, among them one in every line that matches. `None` where that would be every line.
    lines: Option<Regex>,
}

impl Wanted {
    /// Makes the programs. Takes up to some 10 ms of processor time.
    ///
    /// # Errors
    /// [`BadPattern`], each of its cases.
    pub fn compile(&self) -> Result<Pattern, BadPattern> {
        if self.pattern.len() > PATTERN_MAX {
            return Err(BadPattern::TooLong);
        }
        let escaped = self.fixed.then(|| regex::escape(&self.pattern));
        let pattern = escaped.as_ref().unwrap_or(&self.pattern);
        let parsed = ParserBuilder::new()
            .utf8(false)
            .case_insensitive(self.ignore_case)
            .build()
            .parse(pattern)
            .map_err(|error| syntax(&error))?;
        let is_text = matches!(parsed.kind(), HirKind::Literal(_));
        if !is_text && places(&parsed) > PLACES_MAX {
            return Err(BadPattern::TooLarge);
        }
        let wide = widened(&parsed)?;
        let line = build(RegexBuilder::new(pattern).case_insensitive(self.ignore_case))?;
        let every = wide.properties().minimum_len() == Some(0);
        let lines = match every {
            true => None,
            // Without it, more lines are looked at and the same are found.
            false => build(RegexBuilder::new(&wide.to_string()).nest_limit(u32::MAX)).ok(),
        };
        Ok(Pattern { line, lines })
    }
}

impl Pattern {
    /// Whether a line does, which is given with what ends it, if it has ended.
    pub(super) fn matches(&self, line: &[u8]) -> bool {
        let text = match line.strip_suffix(b"\n") {
            Some(text) => text.strip_suffix(b"\r").unwrap_or(text),
            None => line,
        };
        self.line.is_match(text)
    }

    /// The next line that matches in lines that have all ended, at or after `from`, where one begins: its start and its end.
    pub(super) fn find(&self, lines: &[u8], from: usize) -> Option<(usize, usize)> {
        let mut from = from;
        while from < lines.len() {
            let place = match &self.lines {
                Some(finder) => from + finder.find(&lines[from..])?.start(),
                None => from,
            };
            let start =
                memchr::memrchr(b'\n', &lines[from..place]).map_or(from, |at| from + at + 1);
            let end = memchr::memchr(b'\n', lines.get(place..)?)? + place + 1;
            if self.matches(&lines[start..end]) {
                return Some((start, end));
            }
            from = end;
        }
        None
    }
}

fn build(builder: &mut RegexBuilder) -> Result<Regex, BadPattern> {
    let built = builder
        .unicode(true)
        .size_limit(PROGRAM_MAX)
        .dfa_size_limit(STATES_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::Syntax(what) => BadPattern::Syntax { what, column: 1 },
        _ => BadPattern::TooLarge,
    })
}

fn syntax(error: &regex_syntax::Error) -> BadPattern {
    let (what, column) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.column),
        regex_syntax::Error::Translate(error) => {
            (error.kind().to_string(), error.span().start.column)
        }
        error => (error.to_string(), 1),
    };
    BadPattern::Syntax { what, column }
}

/// How many places in a pattern a match can be at, at once.
fn places(hir: &Hir) -> usize {
    let sum = |parts: &[Hir]| parts.iter().map(places).fold(0, usize::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(text) => text.0.len(),
        HirKind::Class(_) => 1,
        HirKind::Repetition(repeated) => {
            let times = repeated.max.unwrap_or(repeated.min.saturating_add(1));
            let times = usize::try_from(times).unwrap_or(usize::MAX);
            places(&repeated.sub).saturating_mul(times)
        }
        HirKind::Capture(group) => places(&group.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}

/// What matches wherever this does, whatever is around it, and matches no newline.
fn widened(hir: &Hir) -> Result<Hir, BadPattern> {
    Ok(match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Hir::empty(),
        HirKind::Literal(text) if text.0.contains(&b'\n') => return Err(BadPattern::Newline),
        HirKind::Literal(_) => hir.clone(),
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut class = class.clone();
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Repetition(repeated) => Hir::repetition(Repetition {
            sub: Box::new(widened(&repeated.sub)?),
            ..repeated.clone()
        }),
        HirKind::Capture(group) => widened(&group.sub)?,
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(widened).collect::<Result<_, _>>()?),
        HirKind::Alternation(parts) => {
            Hir::alternation(parts.iter().map(widened).collect::<Result<_, _>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{BadPattern, PATTERN_MAX, Wanted};

    fn wanted(pattern: &str) -> Wanted {
        Wanted {
            pattern: pattern.into(),
            ..Wanted::default()
        }
    }

    #[test]
    fn what_cannot_be_looked_for_is_told_in_words() {
        let refused = |pattern: &str| wanted(pattern).compile().unwrap_err();
        for (pattern, words) in [
            ("a(", "unclosed group (at character 2)"),
            ("x[z-a]", "invalid character class range"),
            (
                "(.)\\1",
                "backreferences are not supported (at character 4)",
            ),
            ("(?=a)", "look-around"),
            ("a\\p{Nope}", "Unicode property not found"),
        ] {
            let told = refused(pattern).to_string();
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(refused("a\nb"), BadPattern::Newline);
        assert_eq!(refused("(a{1000}){1000}"), BadPattern::TooLarge);
        assert_eq!(refused("((a{99}){99}){99999}"), BadPattern::TooLarge);
        assert_eq!(refused(&"a".repeat(PATTERN_MAX + 1)), BadPattern::TooLong);
        assert_eq!(refused(".{0,2001}"), BadPattern::TooLarge);
        for fine in [
            &"a".repeat(PATTERN_MAX),
            r"\w+@\w+\.\w{2,6}",
            r"\w{1,20}",
            "(?-u:.){2000}",
        ] {
            assert!(wanted(fine).compile().is_ok(), "{fine}");
        }
        assert!(matches!(
            refused(&"(".repeat(9999)),
            BadPattern::Syntax { .. }
        ));
    }

    #[test]
    fn text_is_text_and_letters_may_be_of_either_case() {
        let fixed = |ignore_case| {
            let pattern = "A.[ö".into();
            Wanted {
                pattern,
                fixed: true,
                ignore_case,
            }
            .compile()
            .unwrap()
        };
        assert!(fixed(false).matches("xA.[öx\n".as_bytes()));
        assert!(!fixed(false).matches("a.[ö\n".as_bytes()));
        assert!(fixed(true).matches("a.[Ö\n".as_bytes()));
        assert_eq!(
            fixed(true).find("-\nza.[Ö\r\n\n".as_bytes(), 0),
            Some((2, 10))
        );
    }

    #[test]
    fn classes_are_those_of_unicode_and_bytes_can_be_named() {
        let matches = |pattern: &str, line: &[u8]| wanted(pattern).compile().unwrap().matches(line);
        assert!(matches(r"^\w$", "ö\n".as_bytes()));
        assert!(!matches(r"^.$", b"\xff\n"));
        assert!(matches(r"^(?-u:.)$", b"\xff\r\n"));
        assert!(matches(r"a(?-u:\xff)b", b"a\xffb"));
    }
}
