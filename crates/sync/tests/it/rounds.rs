//! How many round trips a push takes: on a link that carries what one side says only when it has said all, and waits.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use legwork_sync::link::{Closed, Link, Receiving, Sending};
use legwork_sync::message::{Down, Up};
use legwork_sync::push::{self, Pushed};
use legwork_sync::receive;

use crate::support::{Bench, PATIENCE, Tree, noise, now};

/// A half-duplex line.
#[derive(Default)]
struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Said by the client, and not carried as yet; and what is.
    saying: Vec<Up>,
    carried: VecDeque<Up>,
    hung_up: bool,
    /// Said by the server, and not carried as yet.
    answers: Vec<Down>,
    rounds: u32,
}

struct ClientEnd(Arc<Line>);

impl Sending<Up> for ClientEnd {
    fn send(&mut self, message: Up) -> Result<(), Closed> {
        let mut state = self.0.state.lock().unwrap();
        // Where the client has no more to say until it is answered.
        let waits = match &message {
            Up::End(_) => true,
            Up::Hello(hello) => hello.base.is_none(),
            _ => false,
        };
        state.saying.push(message);
        if waits {
            let said = std::mem::take(&mut state.saying);
            state.carried.extend(said);
            self.0.changed.notify_all();
        }
        Ok(())
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().hung_up = true;
        self.0.changed.notify_all();
    }
}

struct ServerEnd {
    line: Arc<Line>,
    to_client: Sender<Down>,
}

impl ServerEnd {
    fn carry(&self, state: &mut State) {
        let answers = std::mem::take(&mut state.answers);
        state.rounds += u32::from(!answers.is_empty());
        for answer in answers {
            // A client that is gone hears nothing.
            let _heard = self.to_client.send(answer);
        }
    }
}

/// The half that listens: where it has to wait, the server has said all.
struct Listening(Arc<ServerEnd>);

impl Receiving<Up> for Listening {
    fn receive(&mut self, timeout: Duration) -> Result<Option<Up>, Closed> {
        let line = &self.0.line;
        let mut state = line.state.lock().unwrap();
        if state.carried.is_empty() {
            self.0.carry(&mut state);
        }
        let quiet = |state: &mut State| state.carried.is_empty() && !state.hung_up;
        let (mut state, _) = line
            .changed
            .wait_timeout_while(state, timeout, quiet)
            .unwrap();
        match state.carried.pop_front() {
            None if state.hung_up => Err(Closed),
            message => Ok(message),
        }
    }
}

struct Speaking(Arc<ServerEnd>);

impl Sending<Down> for Speaking {
    fn send(&mut self, message: Down) -> Result<(), Closed> {
        self.0.line.state.lock().unwrap().answers.push(message);
        Ok(())
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.0.carry(&mut self.0.line.state.lock().unwrap());
    }
}

struct Hearing(Receiver<Down>);

impl Receiving<Down> for Hearing {
    fn receive(&mut self, timeout: Duration) -> Result<Option<Down>, Closed> {
        Receiving::receive(&mut self.0, timeout.min(PATIENCE))
    }
}

/// Pushes; how many times the client had to wait for an answer.
fn rounds(bench: &Bench) -> (u32, Pushed) {
    let line = Arc::new(Line::default());
    let (to_client, from_server) = crossbeam_channel::bounded(100_000);
    let server = Arc::new(ServerEnd {
        line: Arc::clone(&line),
        to_client,
    });
    let link = Link {
        sender: Speaking(Arc::clone(&server)),
        receiver: Listening(server),
    };
    let client = Link {
        sender: ClientEnd(Arc::clone(&line)),
        receiver: Hearing(from_server),
    };
    let pushed = thread::scope(|scope| {
        scope
            .spawn(|| receive::receive(&bench.workspace, &receive::Options::default(), link, &now));
        push::push(&bench.source, &bench.options(), &bench.cache(), client, &())
    });
    let rounds = line.state.lock().unwrap().rounds;
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    (rounds, pushed.unwrap())
}

#[test]
fn one_round_trip_for_no_change_and_for_an_edit_and_two_for_an_unknown_base() {
    let bench = Bench::new();
    for file in 0..600 {
        bench.write(&format!("d{}/{file}", file % 9), &format!("file {file}"));
    }
    let large = |seed| noise(3 << 20, seed);
    std::fs::write(bench.source.join("large"), large(1)).unwrap();
    let takes = |expected, what: &str| {
        let (rounds, pushed) = rounds(&bench);
        assert_eq!(rounds, expected, "{what}");
        pushed
    };
    takes(2, "the first, of whose base nothing is known");
    takes(1, "nothing changed");
    bench.write("d1/1", "an edit");
    bench.write("new", "a new file");
    bench.remove("d2/2");
    takes(1, "edits");
    std::fs::rename(bench.source.join("d3"), bench.source.join("renamed")).unwrap();
    assert_eq!(takes(1, "a directory renamed").sent_bytes, 0);
    std::fs::write(bench.source.join("large"), [b"!", &large(1)[..]].concat()).unwrap();
    assert!(takes(1, "a byte in front of a large file").sent_bytes < 600_000);
    std::fs::remove_file(bench.cache()).unwrap();
    bench.write("d1/1", "another edit");
    takes(2, "the cache was lost");
    bench.write("d1/1", "as another client has it");
    let known = std::fs::read(bench.cache()).unwrap();
    bench.mirror();
    std::fs::write(bench.cache(), known).unwrap();
    bench.write("d1/1", "ours again");
    takes(2, "the cache is of another commit");
    bench.job_write("d4/4", "a job's");
    takes(
        2,
        "a job changed a mirrored file, which has to be sent again",
    );
}
