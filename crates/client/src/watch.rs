//! A directory that is mirrored with each save, over whatever connection there is at that moment.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use legwork_sync::error::PushError;
use legwork_sync::link::{Link, Receiving, Sending};
use legwork_sync::message::{Down, Up};
use legwork_sync::push::{Compress, Pushed};
use legwork_sync::watch::{Clock, Pace, Trouble, Wake, Watch};
use tonic::Code;

use crate::client::Client;
use crate::convert;
use crate::error::{CallError, Result};
use crate::mirror::{
    About, Call, Forward, PushRequest, WaitObserver, begin, panicked, push_error, sync,
};

/// Between two signs of life, while nothing changes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// Signs of life after which what was refused is tried again, once it was tried a few times.
const OFTEN: u32 = 16;

/// Hears what becomes of a watched directory.
pub trait WatchObserver: WaitObserver {
    /// It is mirrored, `took` after the first of these changes was noticed. The first time all of it.
    fn updated(&self, pushed: &Pushed, took: Duration);

    /// The server does not take it as it is, or a file kept changing. Tried again with the next change, and now and then.
    fn refused(&self, error: &CallError);

    /// The directory is gone; nothing is mirrored until it is there again.
    fn gone(&self, why: &io::Error);

    /// It is there again.
    fn back(&self);

    /// Everything is looked at every few seconds, for this reason; `None` that this is over.
    fn trouble(&self, trouble: Option<Trouble>);
}

/// What to do in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Update,
    Leave,
}

impl Client {
    /// Mirrors a directory, and then each change, until the observer cancels. When the connection breaks, it goes on from
    /// what was committed last.
    ///
    /// # Errors
    /// As [`Client::push`] for the first time. Then only what further changes cannot put right: that contact is lost for
    /// good, or that the server does not let this client in any more.
    pub async fn watch(
        &self,
        request: PushRequest,
        pace: Pace,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn WatchObserver>,
    ) -> Result<()> {
        let own = Box::new(Shared(Arc::clone(&clock)));
        let compress = request.options.compress;
        let watch = Watch::new(&request.root, request.options, &request.cache, pace, own);
        let mut watching = Watching {
            client: self,
            about: (convert::workspace(&request.workspace), request.adopt),
            compress,
            clock,
            observer,
            told: None,
        };
        let begun = watching.clock.elapsed();
        let (mut watch, first) = watching.session(watch, Step::Begin).await?;
        if let Some(first) = first? {
            watching.tell(&first, begun);
        }
        let mut idle = 0_u32;
        loop {
            watching.tell_trouble(&watch);
            let heard = Arc::clone(&watching.observer);
            let waiting = self.contact.tasks.spawn_blocking(move || {
                let wake = watch.wait(SIGN_OF_LIFE, &|| heard.cancelled());
                (watch, wake)
            });
            let wake;
            (watch, wake) = waiting.await.map_err(|panic| panicked(&panic))?;
            match wake.map_err(push_error)? {
                Wake::Changed => idle = 0,
                Wake::Idle if watch.is_gone() => continue,
                Wake::Idle => {
                    idle += 1;
                    // What was refused is not sent again each time.
                    if watch.is_behind() && !idle.is_power_of_two() && !idle.is_multiple_of(OFTEN) {
                        continue;
                    }
                }
                Wake::Gone(why) => {
                    watching.observer.gone(&why);
                    continue;
                }
                Wake::Back => {
                    watching.observer.back();
                    continue;
                }
                Wake::Cancelled => return watching.leave(watch).await,
            }
            let noticed = watch.noticed();
            let updated;
            (watch, updated) = watching.session(watch, Step::Update).await?;
            match (updated, noticed) {
                (Ok(Some(pushed)), Some(noticed)) => watching.tell(&pushed, noticed),
                (Ok(_alive), _) => {}
                (Err(error), _) if error.reason == CANCELLED => return Ok(()),
                (Err(error), _) if is_lasting(&error) => return Err(error),
                (Err(error), _) => watching.observer.refused(&error),
            }
        }
    }
}

/// The reason of a session that the observer cancelled.
const CANCELLED: &str = "CANCELLED";

/// Whether no change of the directory, and no time, puts this right.
fn is_lasting(error: &CallError) -> bool {
    let passing = [
        Code::FailedPrecondition,
        Code::ResourceExhausted,
        Code::Aborted,
    ];
    match error.reason.as_str() {
        CallError::CONTACT_LOST | "SYNC_VERSION" | "STATE_NEWER" | "OTHER_WRITER" => true,
        "IO" => false,
        _ => !passing.contains(&error.code),
    }
}

/// One clock for the watch and its driver.
struct Shared(Arc<dyn Clock>);

impl Clock for Shared {
    fn wall(&self) -> std::time::SystemTime {
        self.0.wall()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Watching<'a> {
    client: &'a Client,
    about: About,
    /// As it was asked for; a connection may know better.
    compress: Compress,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn WatchObserver>,
    told: Option<Trouble>,
}

impl Watching<'_> {
    fn tell(&self, pushed: &Pushed, since: Duration) {
        let took = self.clock.elapsed().saturating_sub(since);
        self.observer.updated(pushed, took);
    }

    fn tell_trouble(&mut self, watch: &Watch) {
        let trouble = watch.trouble();
        if self.told != trouble {
            self.told = trouble;
            self.observer.trouble(trouble);
        }
    }

    /// Lets others write at once.
    async fn leave(&self, watch: Watch) -> Result<()> {
        let (_watch, left) = self.session(watch, Step::Leave).await?;
        left.map(drop)
    }

    /// Has one session, on as many connections as it takes. The outer error is of this side, or that there is no connection;
    /// the inner one is what the server has against it.
    async fn session(
        &self,
        mut watch: Watch,
        step: Step,
    ) -> Result<(Watch, Result<Option<Pushed>>)> {
        let contact = &self.client.contact;
        loop {
            let live = contact.live_alone().await?;
            watch.compress(live.distance().compress(self.compress));
            let mut service = sync(&live);
            let waits: Arc<dyn WaitObserver> = Arc::clone(&self.observer) as _;
            let heard = Forward(Arc::clone(&waits));
            let Call { link, ending } =
                begin(&contact.tasks, self.about.clone(), waits, |up| async move {
                    service.commit(up).await
                });
            let session = contact.tasks.spawn_blocking(move || {
                let pushed = take(&mut watch, step, link, &heard);
                (watch, pushed)
            });
            let pushed;
            (watch, pushed) = session.await.map_err(|panic| panicked(&panic))?;
            let error = match pushed {
                Ok(pushed) => {
                    contact.progress();
                    contact.give_back(live);
                    return Ok((watch, Ok(pushed)));
                }
                // What it does not know any more is not said again.
                Err(PushError::Older) => continue,
                Err(error @ PushError::KeepsChanging { .. }) if watch.is_behind() => {
                    // All others are sent without it.
                    self.observer.refused(&push_error(error));
                    continue;
                }
                Err(error) => error,
            };
            let broken = matches!(error, PushError::Closed(_));
            let told = || push_error(error);
            if let Err(error) = self.client.broken(&live, &ending, broken, told).await {
                return Ok((watch, Err(error)));
            }
        }
    }
}

fn take<S, R>(
    watch: &mut Watch,
    step: Step,
    link: Link<S, R>,
    heard: &Forward,
) -> std::result::Result<Option<Pushed>, PushError>
where
    S: Sending<Up>,
    R: Receiving<Down>,
{
    match step {
        Step::Begin => watch.begin(link, heard).map(Some),
        Step::Update => watch.update(link, heard).map(Some),
        Step::Leave => watch.leave(link).map(|()| None),
    }
}
