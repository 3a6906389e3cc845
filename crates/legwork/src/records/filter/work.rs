//! The process in which a filter runs: it is given a filter, then texts, and tells for each which lines are wanted.
//!
//! What comes is a length of four bytes and a text; what is told is a line of JSON. It ends when there is no more, when whoever began it has
//! gone, and when it is out of memory or stack, which is what it is there for.

use std::io::{self, Read, Write};
use std::thread;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// Bytes that the process may have for its data.
pub(super) const MEMORY: u64 = 1 << 30;
/// Of those for the stack, as filters that call themselves need it.
const STACK: usize = 64 << 20;
/// Characters of what is told of a line on which a filter failed: it may quote all of it.
const WHY_MAX: usize = 300;

/// What is told of a text, and of the filter.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Why the filter is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// Where the wanted lines begin and end.
    #[serde(default)]
    pub(super) kept: Vec<(usize, usize)>,
    /// Lines on which the filter failed.
    #[serde(default)]
    pub(super) failed: u64,
    /// Why it failed on the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

/// Works until there is no more to do.
pub(crate) fn work() -> Result<u8, CommandError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    bound(Resource::Data, MEMORY);
    // There is nothing in it that somebody should look for.
    bound(Resource::Core, 0);
    let filter = thread::Builder::new()
        .name("filter".to_owned())
        .stack_size(STACK)
        .spawn(|| converse(&mut io::stdin().lock(), &mut io::stdout().lock()))?;
    filter
        .join()
        .map_err(|_panicked| io::Error::other("the filter failed"))??;
    Ok(0)
}

/// Where it cannot be set, the system's own limits hold.
fn bound(resource: Resource, most: u64) {
    let now = getrlimit(resource);
    let most = now.maximum.map_or(most, |maximum| maximum.min(most));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit).unwrap_or_default();
}

/// Hears a filter and then texts, and tells of each.
fn converse(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let Some(code) = next(from)? else {
        return Ok(());
    };
    let program = match String::from_utf8(code)
        .map_err(|error| error.to_string())
        .and_then(|code| Program::new(&code))
    {
        Ok(program) => program,
        Err(why) => {
            let error = Some(why);
            return tell(
                to,
                &Answer {
                    error,
                    ..Answer::default()
                },
            );
        }
    };
    tell(to, &Answer::default())?;
    while let Some(text) = next(from)? {
        tell(to, &program.keep(&text))?;
    }
    Ok(())
}

fn next(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    let mut text = vec![0; length];
    from.read_exact(&mut text)?;
    Ok(Some(text))
}

fn tell(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// A filter that is compiled.
struct Program(jaq_core::compile::Filter<jaq_core::Native<data::JustLut<Val>>>);

impl Program {
    fn new(code: &str) -> Result<Self, String> {
        let defs = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let funs = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(&arena, File { code, path: () })
            .map_err(|errors| {
                let code = short(format!("{code:?}"));
                format!("{code} is no jq filter ({} errors)", errors.len())
            })?;
        let compiled = Compiler::default().with_funs(funs).compile(modules);
        compiled.map(Self).map_err(|errors| {
            let unknown = errors.iter().flat_map(|(_, errors)| errors);
            let names: Vec<&str> = unknown.map(|(name, _)| *name).collect();
            let (code, names) = (short(format!("{code:?}")), short(names.join(", ")));
            format!("{code} names what there is not: {names}")
        })
    }

    /// The lines of a text for which it is true.
    fn keep(&self, text: &[u8]) -> Answer {
        let mut answer = Answer::default();
        let mut at = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let from = at;
            at += line.len();
            match self.value(line) {
                Ok(None | Some(Val::Null | Val::Bool(false))) => {}
                Ok(Some(_)) => answer.kept.push((from, at)),
                Err(why) => {
                    answer.failed += 1;
                    answer.why.get_or_insert(why);
                }
            }
        }
        answer
    }

    /// Its first output for a line.
    fn value(&self, line: &[u8]) -> Result<Option<Val>, String> {
        let found = read::parse_single(line)
            .map_err(|error| error.to_string())
            .and_then(|line| {
                let ctx = Ctx::<data::JustLut<Val>>::new(&self.0.lut, Vars::new([]));
                let first = self.0.id.run((ctx, line)).map(unwrap_valr).next();
                first.transpose().map_err(|error| error.to_string())
            });
        found.map_err(short)
    }
}

fn short(why: String) -> String {
    match why.char_indices().nth(WHY_MAX) {
        Some((end, _)) => format!("{}…", &why[..end]),
        None => why,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Program, WHY_MAX, converse};

    fn kept(code: &str, text: &str) -> Result<Answer, String> {
        Ok(Program::new(code)?.keep(text.as_bytes()))
    }

    #[test]
    fn lines_are_kept_for_which_it_is_true() {
        let text = "{\"data\":{\"cpu\":7}}\n{\"data\":{\"cpu\":3}}\n{\"data\":7}\n{\"gap\":{}}\n";
        let answer = kept(".data.cpu > 5", text).unwrap();
        assert_eq!(answer.kept, [(0, 19)]);
        assert_eq!(answer.failed, 1, "a number has no members");
        assert_eq!(kept("select(.gap)", text).unwrap().kept.len(), 1);
        assert_eq!(kept("empty", text).unwrap().kept.len(), 0);
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for bad in [".data |", "nothing_like_it", "(("] {
            assert!(!kept(bad, "{}\n").unwrap_err().is_empty());
        }
    }

    #[test]
    fn what_a_filter_says_of_a_line_is_short() {
        let line = format!("{{\"x\":\"{}\"}}\n", "\u{e4}".repeat(5000));
        let why = kept("error", &line).unwrap().why.unwrap();
        assert_eq!(why.chars().count(), WHY_MAX + 1);
    }

    #[test]
    fn texts_are_answered_one_by_one() {
        let frame = |text: &str| {
            let length = u32::try_from(text.len()).unwrap();
            [&length.to_le_bytes(), text.as_bytes()].concat()
        };
        let questions = [frame(".n"), frame("{\"n\":1}\n{}\n"), frame("")].concat();
        let mut told = Vec::new();
        converse(&mut &questions[..], &mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        let answers: Vec<Answer> = told
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), 3);
        assert_eq!(answers[1].kept, [(0, 8)]);
        let mut told = Vec::new();
        converse(&mut &frame("((")[..], &mut told).unwrap();
        assert!(told.starts_with(b"{\"error\":"));
    }
}
