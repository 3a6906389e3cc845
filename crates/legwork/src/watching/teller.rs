//! What is said while a directory is watched, each thing once.
//!
//! Whoever reads that may be slow, or not read at all, and the mirror must not wait for it: what is to be said goes to a thread of its
//! own behind a queue with an end. What does not fit any more is not said; the update that is told next says how many events
//! there were in between (`missed`).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use legwork_client::{CallError, WaitObserver, WatchObserver};
use legwork_sync::message::Waiting;
use legwork_sync::observer::{self, Observer};
use legwork_sync::push::{Pushed, Unreadable};
use legwork_sync::watch::Trouble;
use serde_json::json;

use crate::commands::sync;
use crate::error::CommandError;
use crate::mirror;
use crate::output::Output;
use crate::progress::{Progress, Way};
use crate::project::Project;
use crate::render;

/// Events that may wait to be said.
const QUEUE: usize = 1000;

/// Something that is to be said.
enum Event {
    /// The mirror is up to date, after so long.
    Updated(Box<Pushed>, Duration),
    /// Another, by its name, and in words.
    Other(&'static str, String),
}

/// Hears what happens, and waits for nobody.
pub(super) struct Teller {
    queue: Mutex<Option<SyncSender<Event>>>,
    over: Mutex<Receiver<()>>,
    shared: Arc<Shared>,
}

/// What both threads know.
struct Shared {
    root: String,
    progress: Progress,
    first: AtomicBool,
    stopped: AtomicBool,
    /// Events that there was no room for.
    missed: AtomicU64,
    failed: Mutex<Option<CommandError>>,
}

impl Shared {
    fn of(out: Output, root: String) -> Self {
        Self {
            root,
            progress: Progress::of(out, Way::There),
            first: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
            missed: AtomicU64::new(0),
            failed: Mutex::default(),
        }
    }
}

impl Teller {
    /// Of a project, and the thread that speaks for it.
    pub(super) fn start(out: Output, project: &Project) -> io::Result<Self> {
        let shared = Arc::new(Shared::of(out, mirror::show(&project.root)));
        let (queue, events) = sync_channel(QUEUE);
        let (end, over) = channel();
        let mut speaker = Speaker {
            out,
            shared: Arc::clone(&shared),
            unread: Vec::new(),
            is_first: true,
        };
        thread::Builder::new()
            .name("teller".into())
            .spawn(move || {
                events.into_iter().for_each(|event| speaker.say(&event));
                // Nobody waits for it any more if it took too long.
                let _left = end.send(());
            })?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            over: Mutex::new(over),
            shared,
        })
    }

    /// Ends the watch.
    pub(super) fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }

    /// Waits until everything is said, but not for whoever does not read.
    ///
    /// # Errors
    /// What kept it from being said.
    pub(super) fn finish(&self, limit: Duration) -> Result<(), CommandError> {
        lock(&self.queue).take();
        // Either way it is over, or the time is.
        let _said = lock(&self.over).recv_timeout(limit);
        self.shared.progress.finish();
        lock(&self.shared.failed).take().map_or(Ok(()), Err)
    }

    fn put(&self, event: Event) {
        if let Some(queue) = &*lock(&self.queue)
            && let Err(TrySendError::Full(_)) = queue.try_send(event)
        {
            self.shared.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what was heard, on its own thread.
struct Speaker {
    out: Output,
    shared: Arc<Shared>,
    /// What could not be read, as it was told last.
    unread: Vec<Unreadable>,
    is_first: bool,
}

impl Speaker {
    fn say(&mut self, event: &Event) {
        match event {
            Event::Updated(pushed, took) => self.updated(pushed, *took),
            Event::Other(event, text) if self.out.json => {
                self.json(&json!({"event": event, "message": text}));
            }
            Event::Other(_, text) => self.shared.progress.once(text.clone()),
        }
    }

    /// One line of JSON; who cannot be told ends the watch.
    fn json(&self, value: &serde_json::Value) {
        if let Err(failure) = self.out.json_line(value) {
            lock(&self.shared.failed).get_or_insert(failure);
            self.shared.stopped.store(true, Ordering::Relaxed);
        }
    }

    fn updated(&mut self, pushed: &Pushed, took: Duration) {
        let is_first = std::mem::replace(&mut self.is_first, false);
        self.shared.progress.finish();
        self.shared.progress.forget();
        let missed = self.shared.missed.swap(0, Ordering::Relaxed);
        if self.out.json {
            let mut update = sync::to_json(pushed);
            update["event"] = json!(if is_first { "mirrored" } else { "updated" });
            update["ms"] = json!(took.as_secs_f64() * 1000.0);
            if missed > 0 {
                update["missed"] = json!(missed);
            }
            return self.json(&update);
        }
        if missed > 0 {
            let events = mirror::count(missed, "event");
            self.out.note(&format!("{events} could not be told"));
        }
        if !is_first {
            return self.tell(pushed, took);
        }
        // What cannot be told now cannot be told later.
        let _untold = sync::tell(self.out, &self.unless_told(pushed), took);
        let root = &self.shared.root;
        self.out.note(&format!("watching {root}; Ctrl-C ends it"));
    }

    /// The same without what could not be read the last time, too.
    fn unless_told(&mut self, pushed: &Pushed) -> Pushed {
        let mut fresh = pushed.clone();
        fresh.unreadable.retain(|one| !self.unread.contains(one));
        self.unread.clone_from(&pushed.unreadable);
        fresh
    }

    fn tell(&mut self, pushed: &Pushed, took: Duration) {
        let summary = &pushed.summary;
        mirror::concerns(self.out, &self.unless_told(pushed));
        let changed = summary.written.total + summary.deleted.total;
        if changed == 0 && pushed.sent_files == 0 {
            return;
        }
        let named = if summary.written.total > 0 {
            &summary.written
        } else {
            &summary.deleted
        };
        self.out.note(&format!(
            "{}: {} written ({}), {} deleted, in {} ms",
            mirror::some(named, 1),
            summary.written.total,
            render::bytes(summary.written_bytes),
            summary.deleted.total,
            took.as_millis(),
        ));
    }
}

impl Observer for Teller {
    fn transferred(&self, progress: observer::Progress) {
        if self.shared.first.load(Ordering::Relaxed) {
            self.shared.progress.transferred(progress);
        }
    }

    fn waiting(&self, reason: Waiting) {
        if reason == Waiting::Writer {
            let text =
                "waiting for another commit to the same mirror; --takeover ends that".to_owned();
            self.put(Event::Other("waiting", text));
        }
    }

    fn cancelled(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }
}

impl WaitObserver for Teller {
    fn waiting_for_jobs(&self, jobs: &[String]) {
        let jobs = jobs.join(", ");
        let text = format!("changes wait for {jobs} in this mirror to end; --live does not wait");
        self.put(Event::Other("waiting", text));
    }
}

impl WatchObserver for Teller {
    fn updated(&self, pushed: &Pushed, took: Duration) {
        self.shared.first.store(false, Ordering::Relaxed);
        self.put(Event::Updated(Box::new(pushed.clone()), took));
    }

    fn refused(&self, error: &CallError) {
        let error = CommandError::from(error.clone());
        let hint = error.hint.map(|hint| format!(" ({hint})"));
        let text = format!(
            "not mirrored: {}{}",
            error.message,
            hint.unwrap_or_default()
        );
        self.put(Event::Other("refused", text));
    }

    fn gone(&self, why: &io::Error) {
        let text = format!(
            "{}: {why}; the mirror stays as it is until it is back",
            self.shared.root
        );
        self.put(Event::Other("gone", text));
    }

    fn back(&self) {
        let text = format!("{} is back", self.shared.root);
        self.put(Event::Other("back", text));
    }

    fn trouble(&self, trouble: Option<Trouble>) {
        let text = match trouble {
            None => "each save is noticed by itself again".to_owned(),
            Some(Trouble::Limit) => {
                "this user may not watch so many directories: looking at everything every few seconds \
                 instead; `sysctl fs.inotify.max_user_watches` shows the limit"
                    .to_owned()
            }
            Some(Trouble::Network) => {
                "this file system does not tell of all changes: looking at everything every few seconds"
                    .to_owned()
            }
            Some(Trouble::Refused(errno)) => format!(
                "directories cannot be watched ({}): looking at everything every few seconds instead",
                io::Error::from_raw_os_error(errno)
            ),
        };
        self.put(Event::Other("trouble", text));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::{channel, sync_channel};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use legwork_client::WatchObserver;

    use super::{Shared, Teller};
    use crate::output::Output;

    #[test]
    fn what_nobody_takes_is_counted_and_waits_for_nothing() {
        let out = Output {
            json: true,
            quiet: false,
        };
        let (queue, events) = sync_channel(2);
        let (_end, over) = channel();
        let teller = Teller {
            queue: Mutex::new(Some(queue)),
            over: Mutex::new(over),
            shared: Arc::new(Shared::of(out, String::new())),
        };
        for _ in 0..5 {
            teller.back();
        }
        assert_eq!(events.try_iter().count(), 2);
        assert_eq!(teller.shared.missed.load(Ordering::Relaxed), 3);
        teller.back();
        assert_eq!(events.try_iter().count(), 1);
        teller.finish(Duration::ZERO).unwrap();
    }
}
