//! How far a transfer is: on a terminal, once there is something to see.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use legwork_client::WaitObserver;
use legwork_sync::message::Waiting;
use legwork_sync::observer::{self, Observer};

use crate::output::Output;

/// Which way files travel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// To the mirror.
    There,
    /// From it.
    Back,
}

/// One line on standard error that is redrawn while files travel.
#[derive(Debug)]
pub(crate) struct Progress {
    out: Output,
    way: Way,
    bar: OnceLock<ProgressBar>,
    files: std::sync::atomic::AtomicU64,
    reused: std::sync::atomic::AtomicU64,
    told: Mutex<String>,
    cancelled: std::sync::atomic::AtomicBool,
}

impl Progress {
    pub(crate) fn of(out: Output, way: Way) -> Self {
        Self {
            out,
            way,
            bar: OnceLock::new(),
            files: 0.into(),
            reused: 0.into(),
            told: Mutex::default(),
            cancelled: false.into(),
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Removes the line.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }

    /// Lets what was said last be said again.
    pub(crate) fn forget(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clear();
    }

    /// Says it, unless it was the last thing said: a wait is reported again and again.
    pub(crate) fn once(&self, text: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != text {
            self.out.note(&text);
            *told = text;
        }
    }

    /// Files, and what of them the server had.
    fn words(&self) -> String {
        let files = crate::mirror::count(self.files.load(Ordering::Relaxed), "file");
        match self.reused.load(Ordering::Relaxed) {
            0 => files,
            bytes => format!("{files}, {} reused", crate::render::bytes(bytes)),
        }
    }

    fn bar(&self) -> Option<&ProgressBar> {
        self.out.decorates().then(|| {
            self.bar.get_or_init(|| {
                let bar = ProgressBar::new_spinner().with_message("files");
                let style = match self.way {
                    Way::There => "{spinner} mirroring {msg}, {bytes} sent, {bytes_per_sec}",
                    Way::Back => "{spinner} pulling {msg}, {bytes} received, {bytes_per_sec}",
                };
                // The templates are constants that a test renders.
                bar.set_style(
                    ProgressStyle::with_template(style)
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            })
        })
    }
}

/// Ends what it shows when whoever waits for it waits no more. A command that is interrupted does not wait for what is being
/// read, and leaves no line behind.
pub(crate) struct CancelOnDrop(pub(crate) Arc<Progress>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
        self.0.finish();
    }
}

impl Observer for Progress {
    fn transferred(&self, progress: observer::Progress) {
        let Some(bar) = self.bar() else { return };
        self.files.fetch_add(progress.files, Ordering::Relaxed);
        bar.set_message(self.words());
        bar.inc(progress.bytes);
    }

    fn reused(&self, progress: observer::Progress) {
        let Some(bar) = self.bar() else { return };
        self.reused.fetch_add(progress.bytes, Ordering::Relaxed);
        bar.set_message(self.words());
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn waiting(&self, reason: Waiting) {
        if reason == Waiting::Writer {
            self.once(
                "waiting for another commit to the same mirror; --takeover ends that".to_owned(),
            );
        }
    }
}

impl WaitObserver for Progress {
    fn waiting_for_jobs(&self, jobs: &[String]) {
        self.once(format!(
            "waiting for {} in this mirror to end, because files changed; \
             --workspace NAME runs in a mirror of its own",
            jobs.join(", ")
        ));
    }
}
