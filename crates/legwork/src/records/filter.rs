//! A jq filter that says which lines are wanted: `.data.cpu > 5 and .client == "web-1"`.
//!
//! It runs here and not on the server. The language can loop for ever and make lists of any length; nothing can stop it from outside, and
//! nothing can take its memory back from a thread. So whoever writes a filter pays for it: it has a thread of its own, so many seconds for a line
//! ([`PATIENCE`]), and the process has so much memory more ([`MEMORY`]). The server is only asked for what times, clients and numbers tell.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::oneshot;

use crate::error::CommandError;

/// How long a filter may take for the lines of one message.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that the process may take for its data once there is a filter.
const MEMORY: u64 = 1 << 30;

/// What is asked: lines, and whom to answer.
type Question = (Bytes, oneshot::Sender<Kept>);

/// The lines that are wanted.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Whole lines.
    pub(crate) lines: Vec<Bytes>,
    /// Lines on which the filter failed: they are not wanted.
    pub(crate) failed: u64,
    /// Why it failed on the first of them.
    pub(crate) why: Option<String>,
}

/// A filter at work.
#[derive(Debug)]
pub(crate) struct Filter(mpsc::Sender<Question>);

impl Filter {
    /// Compiles a filter.
    pub(crate) async fn new(code: &str) -> Result<Self, CommandError> {
        limit_memory();
        let (ask, asked) = mpsc::channel::<Question>();
        let (compiled, outcome) = oneshot::channel();
        let code = code.to_owned();
        thread::Builder::new()
            .name("filter".to_owned())
            .spawn(move || work(&code, compiled, &asked))?;
        let outcome = outcome
            .await
            .unwrap_or_else(|_| Err("it cannot be compiled".to_owned()));
        outcome.map_err(|why| {
            CommandError::new(crate::error::USAGE, "BAD_FILTER", format!("--where: {why}"))
                .hint("a filter is written as for jq, over a whole line: --where '.data.cpu > 5'")
        })?;
        Ok(Self(ask))
    }

    /// Which lines of a text are wanted.
    pub(crate) async fn keep(&self, text: Bytes) -> Result<Kept, CommandError> {
        let (tell, told) = oneshot::channel();
        let over = || {
            let message = format!(
                "--where: the filter took longer than {} seconds, or failed",
                PATIENCE.as_secs()
            );
            CommandError::new(crate::error::FAILED, "FILTER_TOO_SLOW", message)
        };
        self.0.send((text, tell)).map_err(|_| over())?;
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(Ok(kept)) => Ok(kept),
            _ => Err(over()),
        }
    }
}

/// A filter that makes a list without an end ends this process, and no other.
fn limit_memory() {
    let now = getrlimit(Resource::Data);
    let most = now.maximum.map_or(MEMORY, |maximum| maximum.min(MEMORY));
    if now.current.is_none_or(|current| current > most) {
        let limit = Rlimit {
            current: Some(most),
            maximum: now.maximum,
        };
        // Where it cannot be set, the system's own limits hold.
        setrlimit(Resource::Data, limit).unwrap_or_default();
    }
}

fn work(
    code: &str,
    compiled: oneshot::Sender<Result<(), String>>,
    asked: &mpsc::Receiver<Question>,
) {
    let defs = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs());
    let funs = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs());
    let arena = Arena::default();
    let program = File { code, path: () };
    let filter = Loader::new(defs)
        .load(&arena, program)
        .map_err(|errors| format!("{code:?} is no jq filter ({} errors)", errors.len()))
        .and_then(|modules| {
            let compiler = Compiler::default().with_funs(funs);
            compiler.compile(modules).map_err(|errors| {
                let unknown = errors.iter().flat_map(|(_, errors)| errors);
                let names: Vec<&str> = unknown.map(|(name, _)| *name).collect();
                format!("{code:?} names what there is not: {}", names.join(", "))
            })
        });
    let filter = match filter {
        Ok(filter) => filter,
        Err(why) => return drop(compiled.send(Err(why))),
    };
    if compiled.send(Ok(())).is_err() {
        return;
    }
    while let Ok((text, tell)) = asked.recv() {
        let mut kept = Kept::default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let found = read::parse_single(line)
                .map_err(|error| error.to_string())
                .and_then(|line| {
                    let ctx = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
                    let first = filter.id.run((ctx, line)).map(unwrap_valr).next();
                    first.transpose().map_err(|error| error.to_string())
                });
            match found {
                Ok(None | Some(Val::Null | Val::Bool(false))) => {}
                Ok(Some(_)) => kept.lines.push(text.slice_ref(line)),
                Err(why) => {
                    kept.failed += 1;
                    kept.why.get_or_insert(why);
                }
            }
        }
        // Nobody waits for it any more.
        drop(tell.send(kept));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Filter;

    async fn kept(code: &str, text: &'static str) -> Result<(Vec<Bytes>, u64), String> {
        let filter = Filter::new(code).await.map_err(|error| error.message)?;
        let kept = filter.keep(Bytes::from_static(text.as_bytes())).await;
        let kept = kept.map_err(|error| error.message)?;
        Ok((kept.lines, kept.failed))
    }

    #[tokio::test]
    async fn lines_are_kept_for_which_it_is_true() {
        let text = "{\"data\":{\"cpu\":7}}\n{\"data\":{\"cpu\":3}}\n{\"data\":7}\n{\"gap\":{}}\n";
        let (lines, failed) = kept(".data.cpu > 5", text).await.unwrap();
        assert_eq!(lines, ["{\"data\":{\"cpu\":7}}\n"]);
        assert_eq!(failed, 1, "a number has no members");
        let (lines, _) = kept("select(.gap)", text).await.unwrap();
        assert_eq!(lines.len(), 1);
        let (lines, _) = kept("empty", text).await.unwrap();
        assert_eq!(lines.len(), 0);
    }

    #[tokio::test]
    async fn what_is_no_filter_is_told() {
        for bad in [".data |", "nothing_like_it", "(("] {
            let told = kept(bad, "{}\n").await.unwrap_err();
            assert!(told.starts_with("--where"), "{told}");
        }
    }
}
