//! Contact with one server, kept: a connection, and another one when it has broken.
//!
//! Small calls share a connection. What carries much, such as a mirror's commit or a job's output, has one alone, so
//! that nothing has to wait behind it; it is the shared one if nobody needs that just then, and is given back.
//!
//! A call that was lost with its connection says nothing about what the server did. What is safe to repeat is
//! repeated here, as it was, on the next connection. A new connection counts only once the server has answered
//! on it, so a listener that accepts and hangs up is not taken for a server that is back.
//!
//! A server that serves so many connections of ours and no more says so on the next one. That is a connection that was lost:
//! the next is tried after a pause, for others may have ended by then. Where there is one to share, it is shared.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use legwork_proto::v1 as wire;
use legwork_proto::v1::host_service_client::HostServiceClient;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::{Response, Status};
use uuid::Uuid;

use crate::connect::Channel;
use crate::distance::Distance;
use crate::error::{CallError, Result};
use crate::first::First;
use crate::live::Live;
use crate::lost::{is_excess, is_lost, is_unsent};
use crate::options::{Notice, Options, Patience};
use crate::target::Target;

/// First pause before a repeated attempt; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A connection that held for this long was a good one: the next pause is short again.
const STEADY: Duration = Duration::from_secs(10);
/// How often in a row one call may be lost on connections that did not hold.
const LOSSES_MAX: u32 = 20;

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
    /// How far away the server was the last time, where the first connection may be waited for.
    expected: Option<Distance>,
}

#[derive(Debug)]
struct State {
    first: First,
    live: Option<Live>,
    trouble: Option<Trouble>,
}

/// Contact is lost.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    attempts: u32,
    why: String,
}

impl State {
    fn new(first: First, live: Option<Live>) -> Self {
        Self {
            first,
            live,
            trouble: None,
        }
    }
}

impl Trouble {
    fn new(attempts: u32, why: String) -> Self {
        Self {
            since: Instant::now(),
            attempts,
            why,
        }
    }
}

impl Contact {
    /// The one connection over `channel`.
    pub(crate) fn once(channel: Channel, tasks: TaskTracker) -> Self {
        let live = Live::new(channel, None);
        let state = State::new(First::Came, Some(live));
        Self::new(None, Options::default(), state, tasks, None)
    }

    /// Connects, once: a mistyped address is told and not tried for ever.
    pub(crate) async fn open(target: Target, options: Options, tasks: TaskTracker) -> Result<Self> {
        let live = first(&target, &options, &tasks).await?;
        let state = State::new(First::Came, Some(live));
        Ok(Self::new(Some(target), options, state, tasks, None))
    }

    /// Connects, once, while the caller goes on. Whoever needs the connection waits for it.
    pub(crate) fn ahead(
        target: Target,
        options: Options,
        tasks: TaskTracker,
        expected: Distance,
    ) -> Self {
        let (to, how, on) = (target.clone(), options.clone(), tasks.clone());
        let coming = tasks.spawn(async move { first(&to, &how, &on).await });
        let first = First::Coming(AbortOnDropHandle::new(coming));
        let (state, expected) = (State::new(first, None), Some(expected));
        Self::new(Some(target), options, state, tasks, expected)
    }

    fn new(
        target: Option<Target>,
        options: Options,
        state: State,
        tasks: TaskTracker,
        expected: Option<Distance>,
    ) -> Self {
        Self {
            target,
            options,
            tasks,
            state: Mutex::new(state),
            in_vain: AtomicU32::new(0),
            expected,
        }
    }

    /// How far away the server seems to be, as long as the first connection to it is being made.
    pub(crate) fn expected(&self) -> Option<Distance> {
        // Where somebody waits for it already, there is little to be gained.
        let state = self.state.try_lock().ok()?;
        self.expected.filter(|_| state.first.is_coming())
    }

    /// How far away the server is, if there is a connection to it that nobody uses alone.
    pub(crate) async fn distance(&self) -> Option<Distance> {
        let state = self.state.lock().await;
        state.live.as_ref().map(Live::distance)
    }

    /// Whether a connection that breaks is followed by another.
    pub(crate) fn is_kept(&self) -> bool {
        self.target.is_some()
    }

    /// Takes note that the connection has brought something.
    pub(crate) fn progress(&self) {
        self.in_vain.store(0, Ordering::Relaxed);
    }

    /// A connection to make calls on, beside others: the one that there is, or the next. Cancel safe.
    ///
    /// # Errors
    /// [`CallError::CONTACT_LOST`] when patience is at its end, and what the server has against us.
    pub(crate) async fn live(&self) -> Result<Live> {
        let mut state = self.settled().await?;
        if let Some(live) = &state.live {
            return Ok(live.clone());
        }
        let live = self.seek(&mut state).await?;
        state.live = Some(live.clone());
        Ok(live)
    }

    /// A connection for one stream that carries much, which nobody else uses as long as the server lets us have others. Is to be
    /// given back. Cancel safe.
    ///
    /// # Errors
    /// As [`Self::live`].
    pub(crate) async fn live_alone(&self) -> Result<Live> {
        if !self.is_kept() {
            return self.live().await;
        }
        let mut state = self.settled().await?;
        match state.live.take_if(|live| live.is_idle()) {
            Some(live) => Ok(live),
            None => self.seek(&mut state).await,
        }
    }

    /// Takes back what [`Self::live_alone`] has given, once its stream has come to its end.
    pub(crate) fn give_back(&self, live: Live) {
        // It only saves making another one: where somebody is at it just now, it is dropped.
        if let Ok(mut state) = self.state.try_lock()
            && state.live.is_none()
            && state.trouble.is_none()
        {
            state.live = Some(live);
        }
    }

    /// What there is, once the first connection has been made. Cancel safe.
    async fn settled(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock().await;
        if let Some(live) = state.first.take().await? {
            state.live = Some(live);
        }
        self.forget_closed(&mut state).await?;
        Ok(state)
    }

    async fn forget_closed(&self, state: &mut State) -> Result<()> {
        let closed = state.live.as_ref().filter(|live| live.channel.is_closed());
        if let Some(live) = closed.cloned() {
            if let Some(target) = &self.target
                && let Some(refused) = self.verdict(target, &live.channel).await
            {
                return Err(refused);
            }
            self.note_loss(state, &live, "the connection was closed".to_owned());
        }
        Ok(())
    }

    /// Makes a connection, as often as it takes. Where one was lost, there is a pause before the next.
    async fn seek(&self, state: &mut State) -> Result<Live> {
        let Some(target) = &self.target else {
            return Err(CallError::unreachable("the connection is closed"));
        };
        loop {
            if let Some(trouble) = &mut state.trouble {
                tokio::time::sleep(pause(trouble.attempts)).await;
                trouble.attempts += 1;
            }
            match self.attempt(target).await {
                Ok((channel, answered)) => {
                    if state.trouble.take().is_some() {
                        self.options.tell(Notice::Back);
                    }
                    return Ok(Live::new(channel, Some(answered)));
                }
                Err(error) if error.is_refusal() => return Err(error),
                Err(error) => {
                    let excess = error.reason == CallError::TOO_MANY_CONNECTIONS;
                    if let Some(shared) = state.live.as_ref().filter(|_| excess) {
                        if state.trouble.take().is_some() {
                            self.options.tell(Notice::Back);
                        }
                        return Ok(shared.clone());
                    }
                    let trouble = state
                        .trouble
                        .get_or_insert_with(|| Trouble::new(0, String::new()));
                    self.still_lost(trouble, &error)?;
                }
            }
        }
    }

    /// A connection on which the server has answered, and how long that took it.
    async fn attempt(&self, target: &Target) -> Result<(Channel, Duration)> {
        let channel = channel(target, &self.options, &self.tasks).await?;
        let asked = Instant::now();
        let mut host = HostServiceClient::with_origin(channel.clone(), origin());
        let answer = tokio::time::timeout(
            self.options.connect_timeout,
            host.info(wire::InfoRequest {}),
        );
        match answer.await {
            Ok(Ok(_info)) => Ok((channel, asked.elapsed())),
            Ok(Err(status)) => {
                let verdict = self.verdict(target, &channel).await;
                Err(verdict.unwrap_or_else(|| status.into()))
            }
            Err(_elapsed) => Err(CallError::unreachable("it does not answer")),
        }
    }

    /// What the peer has against our certificate, if that is what ended the connection.
    async fn verdict(&self, target: &Target, channel: &Channel) -> Option<CallError> {
        let refused = target.verdict(channel.refusal()?)?;
        let limit = self.options.connect_timeout;
        Some(target.with_server_time(refused, limit, &self.tasks).await)
    }

    /// Decides whether to go on after an attempt that failed, and says why it did.
    fn still_lost(&self, trouble: &mut Trouble, error: &CallError) -> Result<()> {
        let why = error.why();
        if let Patience::For(limit) = self.options.patience
            && trouble.since.elapsed() >= limit
        {
            return Err(CallError::contact_lost(why));
        }
        if trouble.why != why {
            why.clone_into(&mut trouble.why);
            self.options.tell(Notice::Lost {
                why: why.to_owned(),
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
        if let Some(refused) = self.verdict(target, &live.channel).await {
            return Err(refused);
        }
        let error = CallError::from(status);
        let why = live.channel.why(error.why());
        let mut state = self.state.lock().await;
        self.note_loss(&mut state, live, why.to_owned());
        if self.in_vain.load(Ordering::Relaxed) > LOSSES_MAX {
            return Err(CallError::contact_lost(why));
        }
        Ok(())
    }

    fn note_loss(&self, state: &mut State, live: &Live, why: String) {
        if live.shared.lost.swap(true, Ordering::Relaxed) {
            return;
        }
        // Of several connections the newest tells whether there is a way to the server.
        let holds = |now: &Live| now.since > live.since && !now.channel.is_closed();
        if state.live.as_ref().is_some_and(holds) {
            return;
        }
        state.live = None;
        // Those that are lost together with the first are one loss.
        if state.trouble.is_some() {
            return;
        }
        let attempts = if live.since.elapsed() >= STEADY {
            self.progress();
            0
        } else {
            self.in_vain.fetch_add(1, Ordering::Relaxed)
        };
        state.trouble = Some(Trouble::new(attempts, why.clone()));
        if self.target.is_some() {
            self.options.tell(Notice::Lost { why });
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
        let (made, in_doubt) = self.repeat_on(Self::live, call).await;
        (made.map(|(_, answer)| answer), in_doubt)
    }

    /// The same, on a connection that nobody else uses as in [`Self::live_alone`]; gives it out, for whoever made the call to give
    /// back.
    pub(crate) async fn repeat_alone<T, Made>(
        &self,
        call: impl Fn(Channel) -> Made,
    ) -> Result<(Live, T)>
    where
        Made: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        self.repeat_on(Self::live_alone, call).await.0
    }

    async fn repeat_on<T, Made>(
        &self,
        connection: impl AsyncFn(&Self) -> Result<Live>,
        call: impl Fn(Channel) -> Made,
    ) -> (Result<(Live, T)>, bool)
    where
        Made: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let (mut in_doubt, mut excess) = (false, None);
        loop {
            let live = match connection(self).await {
                Ok(live) => live,
                Err(error) if in_doubt => return (Err(error), true),
                Err(error) => return (Err(not_done(error, excess)), false),
            };
            match call(live.channel.clone()).await {
                Ok(answer) => {
                    self.progress();
                    return (Ok((live, answer.into_inner())), in_doubt);
                }
                Err(status) if is_lost(&status) => {
                    in_doubt |= !is_unsent(&status);
                    excess = is_excess(&status).then(|| status.clone().into());
                    if let Err(error) = self.lost(&live, status).await {
                        return (Err(error), in_doubt);
                    }
                }
                Err(status) => {
                    self.give_back(live);
                    return (Err(status.into()), in_doubt);
                }
            }
        }
    }

    /// Makes a call that must not be made twice: again only where it certainly was not sent.
    pub(crate) async fn at_most_once<T, Made>(&self, call: impl Fn(Channel) -> Made) -> Result<T>
    where
        Made: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let mut excess = None;
        loop {
            let live = self.live().await;
            let live = live.map_err(|error| not_done(error, excess.take()))?;
            match call(live.channel.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if is_unsent(&status) => {
                    excess = is_excess(&status).then(|| status.clone().into());
                    self.lost(&live, status).await?;
                }
                Err(status) if is_lost(&status) && self.target.is_some() => {
                    let error = CallError::from(status.clone());
                    self.lost(&live, status).await?;
                    let why = live.channel.why(error.why());
                    return Err(CallError::contact_lost(why));
                }
                Err(status) => return Err(status.into()),
            }
        }
    }
}

/// Why a call was not made. Where the server has refused it, its word is better than that contact was lost: there is no doubt.
fn not_done(error: CallError, excess: Option<CallError>) -> CallError {
    match excess {
        Some(excess) if error.reason == CallError::CONTACT_LOST => excess,
        _ => error,
    }
}

async fn first(target: &Target, options: &Options, tasks: &TaskTracker) -> Result<Live> {
    let begun = Instant::now();
    let channel = channel(target, options, tasks).await?;
    Ok(Live::new(channel, Some(begun.elapsed())))
}

async fn channel(target: &Target, options: &Options, tasks: &TaskTracker) -> Result<Channel> {
    let limit = options.connect_timeout;
    let stream = match target.dial(limit).await {
        Ok(stream) => stream,
        Err(error) => return Err(target.with_server_time(error, limit, tasks).await),
    };
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
