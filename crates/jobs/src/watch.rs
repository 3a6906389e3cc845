//! Noticing that something happened in a job directory.
//!
//! One inotify(7) instance serves a library object, with one watch for each directory or file that anybody looks at, and one task
//! passes on what the kernel says. There are two kinds of news: *shape* (a file appeared in a job's directory, its journal got a
//! line, its shim is gone), and *growth* of single files, for which readers of output ask. A reader is told when the segment that it
//! reads grows, and when the index does: a shim writes to the index before it writes the line, and to wake a reader on a processor
//! that sleeps takes longer than the shim needs for both. So it wakes while the line is being written, and finds it as a rule.
//!
//! Where inotify cannot be had or cannot see, for want of instances or watches or on a network file system, the same calls come
//! back by the clock. They do so now and then in any case: news is a hint to look again, and never the only one.

mod kernel;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use legwork_shim::layout;
use tokio::time::{Instant, Sleep, sleep, timeout};

use self::kernel::{Ear, Kernel, Subscription};
use crate::id::JobId;
use crate::inner::Inner;
use crate::tasks::Tasks;

/// How often to look when there is no news at all.
const RECHECK: Duration = Duration::from_secs(5);
/// How often to look without inotify: at first, and when nothing has happened for a while.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(250);
/// The kernel tells that a shim's journal is closed a moment before the lock on it is free.
const CLOSING_MIN: Duration = Duration::from_micros(200);

/// Gives out watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    parent: PathBuf,
    /// Made with the first watch, for it needs a runtime.
    kernel: OnceLock<Option<Arc<Kernel>>>,
}

/// News of one directory.
#[derive(Debug)]
pub(crate) struct Watch {
    source: Source,
    /// How long to wait before the next look without news; [`POLL_MAX`] at the end of a row of them.
    pause: Duration,
    /// How often the journal had been closed when that row began.
    closed: u64,
    /// How often the clock has said to look again.
    rechecks: u64,
}

#[derive(Debug)]
enum Source {
    /// The shim itself, until it has settled.
    Young {
        news: tokio::sync::watch::Receiver<u64>,
        inner: Arc<Inner>,
        id: JobId,
    },
    Kernel(Told),
    Clock,
}

/// What the kernel tells one who looks.
#[derive(Debug)]
struct Told {
    kernel: Arc<Kernel>,
    ear: Arc<Ear>,
    /// The number of the last news that was taken note of.
    seen: u64,
    /// When to look without news. It stands while news come: setting it anew with each would cost a line more than the news.
    recheck: Option<Pin<Box<Sleep>>>,
    _dir: Subscription,
    /// The file whose growth is news, by the number that its reader has given it.
    number: Option<u64>,
    /// Its growth; none when it was gone already.
    file: Option<Subscription>,
    /// The growth of the index beside it, which comes first.
    index: Option<Subscription>,
}

impl Watcher {
    /// A watcher of directories below `parent`.
    pub(crate) fn new(parent: &Path) -> Self {
        Self {
            parent: parent.to_owned(),
            kernel: OnceLock::new(),
        }
    }

    /// A watcher that does without the kernel's help.
    pub(crate) fn by_the_clock() -> Self {
        Self {
            parent: PathBuf::new(),
            kernel: OnceLock::from(None),
        }
    }

    /// Whether it does without the kernel's help in any case.
    pub(crate) fn is_by_the_clock(&self) -> bool {
        matches!(self.kernel.get(), Some(None))
    }

    /// Begins to watch. What happens from now on is news.
    pub(crate) fn watch(&self, dir: &Path, tasks: &Tasks) -> Watch {
        let kernel = self.kernel.get_or_init(|| {
            let sees = kernel::sees(&self.parent);
            sees.then(|| Kernel::start(tasks).ok()).flatten()
        });
        let told = kernel.as_ref().and_then(|kernel| {
            let ear = Arc::new(Ear::default());
            Some(Told {
                _dir: kernel.subscribe(dir, kernel::SHAPE, &ear).ok()?,
                kernel: kernel.clone(),
                ear,
                seen: 0,
                recheck: None,
                number: None,
                file: None,
                index: None,
            })
        });
        Watch::new(told.map_or(Source::Clock, Source::Kernel))
    }
}

impl Watch {
    fn new(source: Source) -> Self {
        let pause = match source {
            Source::Young { .. } | Source::Kernel(_) => POLL_MAX,
            Source::Clock => POLL_MIN,
        };
        Self {
            source,
            pause,
            closed: 0,
            rechecks: 0,
        }
    }

    /// Waits for news of a job from its shim, and from its directory when it has settled.
    pub(crate) fn young(
        news: tokio::sync::watch::Receiver<u64>,
        inner: Arc<Inner>,
        id: JobId,
    ) -> Self {
        Self::new(Source::Young { news, inner, id })
    }

    /// Takes note of the news so far, so that [`Self::changed`] waits for later ones. The number that is returned is
    /// another one whenever files may have appeared or gone since the last look, or the clock says to make sure.
    pub(crate) fn look(&mut self) -> u64 {
        match &mut self.source {
            Source::Kernel(told) => {
                told.seen = told.ear.news();
                told.ear.shape() + self.rechecks
            }
            Source::Young { news, .. } => *news.borrow_and_update() + self.rechecks,
            Source::Clock => self.rechecks,
        }
    }

    /// Makes the growth of one segment news, instead of another's, and that of the index beside it; its reader numbers the segments
    /// that it opens. `true` if it was not before: then what there is has to be read first.
    pub(crate) fn attend(&mut self, number: u64, path: &Path) -> bool {
        let Source::Kernel(told) = &mut self.source else {
            return false;
        };
        if told.attends_to(number) {
            return false;
        }
        if told.attend(number, path).is_err() {
            // The number that says what is there goes on, and so do the looks, soon.
            self.rechecks += told.ear.shape() + 1;
            (self.source, self.pause) = (Source::Clock, POLL_MIN);
        }
        true
    }

    /// Whether somebody tells of the growth of this file: the kernel, or a shim that has not settled.
    pub(crate) fn attends_to(&self, number: u64) -> bool {
        match &self.source {
            Source::Kernel(told) => told.attends_to(number),
            Source::Young { .. } => true,
            Source::Clock => false,
        }
    }

    /// Returns when there is news, or when it is time to look without. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        match &mut self.source {
            Source::Young { news, inner, id } => match timeout(RECHECK, news.changed()).await {
                Ok(Ok(())) => return,
                Ok(Err(_over)) => {
                    let looked = *news.borrow() + self.rechecks;
                    *self = inner.watch_directory(*id);
                    self.rechecks = looked;
                }
                Err(_elapsed) => {}
            },
            Source::Clock => sleep(self.pause).await,
            Source::Kernel(told) => {
                let closed = told.ear.closed();
                if closed != self.closed {
                    (self.closed, self.pause) = (closed, CLOSING_MIN);
                }
                let soon = (self.pause < POLL_MAX).then_some(self.pause);
                if told.changed(soon).await {
                    return;
                }
            }
        }
        self.rechecks += 1;
        self.pause = (self.pause * 2).min(POLL_MAX);
    }

    /// Something was there: by the clock, look again soon.
    pub(crate) fn found(&mut self) {
        if matches!(self.source, Source::Clock) {
            self.pause = POLL_MIN;
        }
    }
}

impl Told {
    fn attends_to(&self, number: u64) -> bool {
        self.number == Some(number)
    }

    fn attend(&mut self, number: u64, path: &Path) -> io::Result<()> {
        let growth = |path: &Path| match self.kernel.subscribe(path, kernel::GROWTH, &self.ear) {
            Ok(growth) => Ok(Some(growth)),
            // What follows it is news of the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let file = growth(path)?;
        if self.index.is_none() {
            self.index = growth(&path.with_file_name(layout::INDEX))?;
        }
        (self.number, self.file) = (Some(number), file);
        Ok(())
    }

    /// Waits for news; `false` when it is time to look without, which is as soon as this or after a while.
    async fn changed(&mut self, soon: Option<Duration>) -> bool {
        let news = self.ear.later_than(self.seen);
        if let Some(soon) = soon {
            return timeout(soon, news).await.is_ok();
        }
        let recheck = self.recheck.get_or_insert_with(|| Box::pin(sleep(RECHECK)));
        tokio::select! {
            biased;
            () = news => return true,
            () = recheck.as_mut() => {}
        }
        recheck.as_mut().reset(Instant::now() + RECHECK);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use tokio::time::Instant;

    use super::{RECHECK, Source, Watch, Watcher};
    use crate::tasks::Tasks;

    #[tokio::test]
    async fn growth_is_news_of_a_file_and_only_for_those_who_asked() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::default();
        let watcher = Watcher::new(dir.path());
        let path = dir.path().join("output");
        let mut file = File::create(&path).unwrap();
        let mut growth = watcher.watch(dir.path(), &tasks);
        let mut shape = watcher.watch(dir.path(), &tasks);
        assert!(growth.attend(1, &path));
        assert!(!growth.attend(1, &path));
        let (grown, shaped) = (growth.look(), shape.look());

        file.write_all(b"x").unwrap();
        growth.changed().await;
        assert_eq!(growth.look(), grown);
        assert_eq!(shape.look(), shaped);

        fs::rename(&path, dir.path().join("exit")).unwrap();
        shape.changed().await;
        assert_ne!(shape.look(), shaped);
        growth.changed().await;
        assert_ne!(growth.look(), grown);
        tasks.close().await;
    }

    #[tokio::test]
    async fn the_index_is_news_before_the_line_that_it_tells_of() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::default();
        let path = dir.path().join("output");
        File::create(&path).unwrap();
        let mut index = File::create(dir.path().join("index")).unwrap();
        let mut watch = Watcher::new(dir.path()).watch(dir.path(), &tasks);
        assert!(watch.attend(1, &path));
        watch.look();
        index.write_all(b"x").unwrap();
        watch.changed().await;
        assert_eq!(watch.rechecks, 0);
        tasks.close().await;
    }

    #[tokio::test]
    async fn one_file_after_the_other_is_attended_to_and_one_that_is_gone_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::default();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let mut second = File::create(&two).unwrap();
        let mut watch = Watcher::new(dir.path()).watch(dir.path(), &tasks);
        assert!(watch.attend(1, &one));
        assert!(watch.attend(2, &two));
        watch.look();
        second.write_all(b"x").unwrap();
        watch.changed().await;
        assert!(matches!(watch.source, Source::Kernel(_)));
        assert_eq!(watch.rechecks, 0);
        tasks.close().await;
    }

    #[tokio::test]
    async fn a_journal_that_closes_is_news_and_a_reader_of_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::default();
        let path = dir.path().join("journal");
        let journal = File::create(&path).unwrap();
        let mut watch = Watcher::new(dir.path()).watch(dir.path(), &tasks);
        let before = watch.look();
        drop(File::open(&path).unwrap());
        drop(journal);
        watch.changed().await;
        assert_eq!(watch.look(), before + 1);
        let Source::Kernel(told) = &watch.source else {
            return;
        };
        assert_eq!(told.ear.closed(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_happens_it_is_time_to_look_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::default();
        let mut watch = Watcher::new(dir.path()).watch(dir.path(), &tasks);
        assert!(matches!(watch.source, Source::Kernel(_)));
        for _ in 0..3 {
            let (looked, since) = (watch.look(), Instant::now());
            watch.changed().await;
            assert_ne!(watch.look(), looked);
            assert!(since.elapsed() >= RECHECK);
        }
        tasks.close().await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_inotify_the_clock_tells() {
        let mut watch = Watch::new(Source::Clock);
        let first = watch.look();
        watch.changed().await;
        watch.changed().await;
        assert!(watch.pause > super::POLL_MIN);
        watch.found();
        assert_eq!(watch.pause, super::POLL_MIN);
        assert_ne!(watch.look(), first);
    }
}
