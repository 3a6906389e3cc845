//! Contact with one server, kept: a connection, and another one when it has broken.
//!
//! A call that was lost with its connection says nothing about what the server did. What is safe to repeat is
//! repeated here, as it was, on the next connection. A new connection counts only once the server has answered
//! on it, so a listener that accepts and hangs up is not taken for a server that is back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use legwork_proto::v1 as wire;
use legwork_proto::v1::host_service_client::HostServiceClient;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::{Response, Status};
use uuid::Uuid;

use crate::connect::{Channel, Heartbeat};
use crate::error::{CallError, Result, is_lost, is_unsent};
use crate::target::Target;

/// First pause before a repeated attempt; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A connection that held for this long was a good one: the next pause is short again.
const STEADY: Duration = Duration::from_secs(10);
/// How often in a row one call may be lost on connections that did not hold.
const LOSSES_MAX: u32 = 20;

/// How long to go on when contact is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// For ever: somebody is there who can interrupt.
    Forever,
    /// For this long after contact was lost.
    For(Duration),
}

impl Default for Patience {
    fn default() -> Self {
        Self::For(Duration::from_mins(10))
    }
}

/// What becomes of the contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It was lost, and is sought again. Told again when there is another cause.
    Lost {
        /// Why, as far as one can say.
        why: String,
    },
    /// It is there again, and what was under way goes on.
    Back,
}

/// Who hears of what becomes of the contact.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(Notice) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener(..)")
    }
}

/// How to keep contact.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long to go on when contact is lost.
    pub patience: Patience,
    /// How a silent peer is noticed; `None` for one in the same process.
    pub heartbeat: Option<Heartbeat>,
    /// Who hears of it; see [`Options::on_notice`].
    pub listener: Option<Listener>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            patience: Patience::default(),
            heartbeat: Some(Heartbeat::default()),
            listener: None,
        }
    }
}

impl Options {
    /// The same with somebody who hears of what becomes of the contact. Must not block.
    #[must_use]
    pub fn on_notice(mut self, listener: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        self.listener = Some(Listener(Arc::new(listener)));
        self
    }
}

/// Contact with one server.
#[derive(Debug)]
pub(crate) struct Contact {
    /// Absent when there is only the one connection.
    target: Option<Target>,
    options: Options,
    pub(crate) tasks: TaskTracker,
    state: Mutex<State>,
    /// How many connections in a row did not hold and brought nothing.
    in_vain: AtomicU32,
}

#[derive(Debug)]
struct State {
    live: Option<Live>,
    trouble: Option<Trouble>,
}

/// A connection that calls can be made on.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) channel: Channel,
    /// Tells it from others.
    number: Uuid,
    since: Instant,
}

/// Contact is lost.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    attempts: u32,
    why: String,
}

impl Live {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            number: Uuid::now_v7(),
            since: Instant::now(),
        }
    }
}

impl Contact {
    /// The one connection over `channel`.
    pub(crate) fn once(channel: Channel, tasks: TaskTracker) -> Self {
        Self::new(None, Options::default(), channel, tasks)
    }

    /// Connects, once: a mistyped address is told and not tried for ever.
    pub(crate) async fn open(target: Target, options: Options, tasks: TaskTracker) -> Result<Self> {
        let channel = channel(&target, &options, &tasks).await?;
        Ok(Self::new(Some(target), options, channel, tasks))
    }

    fn new(target: Option<Target>, options: Options, channel: Channel, tasks: TaskTracker) -> Self {
        Self {
            target,
            options,
            tasks,
            state: Mutex::new(State {
                live: Some(Live::new(channel)),
                trouble: None,
            }),
            in_vain: AtomicU32::new(0),
        }
    }

    /// Whether a connection that breaks is followed by another.
    pub(crate) fn is_kept(&self) -> bool {
        self.target.is_some()
    }

    /// Takes note that the connection has brought something.
    pub(crate) fn progress(&self) {
        self.in_vain.store(0, Ordering::Relaxed);
    }

    /// A connection: the one that there is, or the next. Cancel safe.
    ///
    /// # Errors
    /// [`CallError::CONTACT_LOST`] when patience is at its end, and what the server has against us.
    pub(crate) async fn live(&self) -> Result<Live> {
        let mut state = self.state.lock().await;
        if let Some(live) = state.live.clone() {
            if !live.channel.is_closed() {
                return Ok(live);
            }
            self.note_loss(&mut state, &live, "the connection was closed".to_owned());
        }
        let Some(target) = &self.target else {
            return Err(CallError::unreachable("the connection is closed"));
        };
        loop {
            let trouble = state.trouble.get_or_insert_with(|| Trouble {
                since: Instant::now(),
                attempts: 0,
                why: String::new(),
            });
            tokio::time::sleep(pause(trouble.attempts)).await;
            trouble.attempts += 1;
            match self.attempt(target).await {
                Ok(channel) => {
                    let live = Live::new(channel);
                    state.live = Some(live.clone());
                    state.trouble = None;
                    self.tell(Notice::Back);
                    return Ok(live);
                }
                Err(error) if error.is_refusal() => return Err(error),
                Err(error) => self.still_lost(trouble, &error)?,
            }
        }
    }

    /// A connection on which the server has answered.
    async fn attempt(&self, target: &Target) -> Result<Channel> {
        let channel = channel(target, &self.options, &self.tasks).await?;
        let mut host = HostServiceClient::with_origin(channel.clone(), origin());
        let answer = tokio::time::timeout(
            self.options.connect_timeout,
            host.info(wire::InfoRequest {}),
        );
        match answer.await {
            Ok(Ok(_info)) => Ok(channel),
            Ok(Err(status)) => {
                let verdict = channel.ending().and_then(|ending| target.verdict(ending));
                Err(verdict.unwrap_or_else(|| status.into()))
            }
            Err(_elapsed) => Err(CallError::unreachable("it does not answer")),
        }
    }

    /// Decides whether to go on after an attempt that failed, and says why it did.
    fn still_lost(&self, trouble: &mut Trouble, error: &CallError) -> Result<()> {
        if let Patience::For(limit) = self.options.patience
            && trouble.since.elapsed() >= limit
        {
            return Err(CallError::contact_lost(&error.message));
        }
        if trouble.why != error.message {
            trouble.why.clone_from(&error.message);
            self.tell(Notice::Lost {
                why: error.message.clone(),
            });
        }
        Ok(())
    }

    /// Takes note that a call on this connection was lost. What was learned of the cause is told.
    ///
    /// # Errors
    /// When there will be no other connection.
    pub(crate) async fn lost(&self, live: &Live, status: Status) -> Result<()> {
        let Some(target) = &self.target else {
            return Err(status.into());
        };
        let ending = live.channel.ending();
        if let Some(refused) = ending.and_then(|ending| target.verdict(ending)) {
            return Err(refused);
        }
        let error = CallError::from(status);
        let mut state = self.state.lock().await;
        if state
            .live
            .as_ref()
            .is_some_and(|now| now.number == live.number)
        {
            self.note_loss(&mut state, live, error.message.clone());
        }
        if self.in_vain.load(Ordering::Relaxed) > LOSSES_MAX {
            return Err(CallError::contact_lost(&error.message));
        }
        Ok(())
    }

    fn note_loss(&self, state: &mut State, live: &Live, why: String) {
        state.live = None;
        let attempts = if live.since.elapsed() >= STEADY {
            self.progress();
            0
        } else {
            self.in_vain.fetch_add(1, Ordering::Relaxed)
        };
        state.trouble = Some(Trouble {
            since: Instant::now(),
            attempts,
            why: why.clone(),
        });
        if self.target.is_some() {
            self.tell(Notice::Lost { why });
        }
    }

    /// Makes a call, again on the next connection where it was lost: for what does no harm when it is done twice.
    pub(crate) async fn repeat<T, Made>(&self, call: impl Fn(Channel) -> Made) -> Result<T>
    where
        Made: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        self.repeat_in_doubt(call).await.0
    }

    /// The same, and whether an earlier attempt may have been heard whose answer was lost.
    pub(crate) async fn repeat_in_doubt<T, Made>(
        &self,
        call: impl Fn(Channel) -> Made,
    ) -> (Result<T>, bool)
    where
        Made: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let mut in_doubt = false;
        loop {
            let live = match self.live().await {
                Ok(live) => live,
                Err(error) => return (Err(error), in_doubt),
            };
            match call(live.channel.clone()).await {
                Ok(answer) => {
                    self.progress();
                    return (Ok(answer.into_inner()), in_doubt);
                }
                Err(status) if is_lost(&status) => {
                    in_doubt |= !is_unsent(&status);
                    if let Err(error) = self.lost(&live, status).await {
                        return (Err(error), in_doubt);
                    }
                }
                Err(status) => return (Err(status.into()), in_doubt),
            }
        }
    }

    /// Makes a call that must not be made twice: again only where it certainly was not sent.
    pub(crate) async fn at_most_once<T, Made>(&self, call: impl Fn(Channel) -> Made) -> Result<T>
    where
        Made: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        loop {
            let live = self.live().await?;
            match call(live.channel.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_unsent(&status) => self.lost(&live, status).await?,
                Err(status) if is_lost(&status) && self.target.is_some() => {
                    let why = CallError::contact_lost(status.message());
                    self.lost(&live, status).await?;
                    return Err(why);
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    fn tell(&self, notice: Notice) {
        if let Some(listener) = &self.options.listener {
            (listener.0)(notice);
        }
    }
}

async fn channel(target: &Target, options: &Options, tasks: &TaskTracker) -> Result<Channel> {
    let stream = target.dial(options.connect_timeout).await?;
    Channel::over(stream, options.heartbeat, tasks).await
}

/// HTTP/2 wants an authority; who the peer is was settled when the stream was made.
pub(crate) fn origin() -> http::Uri {
    http::Uri::from_static("http://legwork")
}

/// How long to wait before an attempt: longer each time, and never the same for all who lost contact at once.
fn pause(attempts: u32) -> Duration {
    let longest = PAUSE_MAX.min(PAUSE_MIN.saturating_mul(1 << attempts.min(16)));
    let (_, random) = Uuid::now_v7().as_u64_pair();
    let part = u32::try_from(random & 0xff).unwrap_or(0);
    longest / 2 + longest / 512 * part
}

#[cfg(test)]
mod tests {
    use super::{PAUSE_MAX, PAUSE_MIN, pause};

    #[test]
    fn pauses_grow_up_to_a_limit_and_differ() {
        for attempts in 0..100 {
            let pause = pause(attempts);
            assert!(pause >= PAUSE_MIN / 2 && pause <= PAUSE_MAX);
        }
        assert!(pause(0) <= PAUSE_MIN);
        assert!(pause(20) >= PAUSE_MAX / 2);
        let some: std::collections::HashSet<_> = (0..50).map(|_| pause(10)).collect();
        assert!(some.len() > 5);
    }
}
