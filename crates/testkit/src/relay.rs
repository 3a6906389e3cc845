//! A bad network: a relay between a client and a server that delays, throttles, stalls and cuts on command.
//!
//! It knows nothing of what it carries. Its near side is either a TCP port or streams in memory, which also work with
//! a clock that stands still; its far side is whatever a [`Dialler`] leads to.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use legwork_client::{ByteStream, CallError, Dialler};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Bytes carried at once.
const BLOCK: usize = 16 << 10;
/// Bytes that a stream in memory holds.
const PIPE: usize = 64 << 10;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What the network is like now.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// How many connections there have been.
    connections: u64,
    /// New connections fail.
    refusing: bool,
    /// Bytes wait.
    stalled: bool,
    /// Connections up to this number carry nothing any more.
    silent: u64,
    /// Connections up to this number are cut.
    cut: u64,
    /// Connections up to this number are cut instead of carrying a byte in this direction.
    trap: Option<(u64, Direction)>,
    /// Each block is this late.
    delay: Duration,
    /// Bytes that a block may have.
    block: Option<usize>,
}

/// Where a connection is to be cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    direction: Direction,
    after: u64,
}

#[derive(Debug)]
struct Shared {
    far: Dialler,
    tasks: TaskTracker,
    weather: watch::Sender<Weather>,
    cuts: Mutex<VecDeque<Cut>>,
    up: AtomicU64,
    down: AtomicU64,
}

/// A relay. Clones are the same.
#[derive(Debug, Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

impl Relay {
    /// A relay to wherever `far` leads, and a good network so far.
    #[must_use]
    pub fn new(far: Dialler, tasks: TaskTracker) -> Self {
        Self {
            shared: Arc::new(Shared {
                far,
                tasks,
                weather: watch::Sender::new(Weather::default()),
                cuts: Mutex::default(),
                up: AtomicU64::new(0),
                down: AtomicU64::new(0),
            }),
        }
    }

    /// Its near side in memory.
    #[must_use]
    pub fn dialler(&self) -> Dialler {
        let relay = self.clone();
        Dialler::new(move || {
            let relay = relay.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(PIPE);
                if !relay.take(Box::new(theirs)) {
                    return Err(CallError::unreachable("connection refused by the test"));
                }
                Ok(ours)
            }
        })
    }

    /// Its near side as a port of this machine. A connection that is cut there is reset.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn listen(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let relay = self.clone();
        self.shared.tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let ready = stream.set_nodelay(true).and(stream.set_zero_linger());
                if ready.is_ok() {
                    relay.take(Box::new(stream));
                }
            }
        });
        Ok(at)
    }

    /// From now on new connections fail, or not any more.
    pub fn refuse(&self, refusing: bool) {
        self.shared.weather.send_modify(|w| w.refusing = refusing);
    }

    /// From now on nothing gets through on any connection, or what waits goes on.
    pub fn stall(&self, stalled: bool) {
        self.shared.weather.send_modify(|w| w.stalled = stalled);
    }

    /// The connections that there are stay open and carry nothing any more, as after a firewall forgot them.
    pub fn silence(&self) {
        self.shared
            .weather
            .send_modify(|w| w.silent = w.connections);
    }

    /// Ends all the connections that there are. What is said from now on does not pass on any of them.
    pub fn cut(&self) {
        self.shared.weather.send_modify(|w| w.cut = w.connections);
    }

    /// Ends each of the connections that there are when the next byte comes in this direction, which is lost.
    pub fn trap(&self, direction: Direction) {
        self.shared
            .weather
            .send_modify(|w| w.trap = Some((w.connections, direction)));
    }

    /// The next connection for which nothing was said yet ends after this many bytes in this direction.
    pub fn cut_next(&self, direction: Direction, after: u64) {
        let mut cuts = self
            .shared
            .cuts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cuts.push_back(Cut { direction, after });
    }

    /// From now on bytes travel in blocks of at most this size, each of them this late.
    pub fn slow(&self, block: usize, delay: Duration) {
        self.shared.weather.send_modify(|w| {
            w.block = Some(block.max(1));
            w.delay = delay;
        });
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.weather.borrow().connections
    }

    /// How many bytes have passed in a direction, on all connections.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.counter(direction).load(Ordering::Relaxed)
    }

    /// `false` if the connection is refused.
    fn take(&self, near: Box<dyn ByteStream>) -> bool {
        let mut number = 0;
        // At once, so that one that is made while the network becomes bad is either refused or one of those there are.
        let taken = self.shared.weather.send_if_modified(|weather| {
            weather.connections += u64::from(!weather.refusing);
            number = weather.connections;
            !weather.refusing
        });
        if !taken {
            return false;
        }
        let mut cuts = self
            .shared
            .cuts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let cut = cuts.pop_front();
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let Ok(far) = shared.far.dial().await else {
                return;
            };
            let (near_in, near_out) = tokio::io::split(near);
            let (far_in, far_out) = tokio::io::split(far);
            let line = |direction| Line {
                shared: &shared,
                number,
                direction,
                left: cut
                    .filter(|cut| cut.direction == direction)
                    .map(|cut| cut.after),
            };
            tokio::select! {
                () = line(Direction::Up).carry(near_in, far_out) => {}
                () = line(Direction::Down).carry(far_in, near_out) => {}
                () = shared.is(|weather| weather.cut >= number) => {}
            }
        });
        true
    }
}

impl Shared {
    fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// Waits until the weather is such.
    async fn is(&self, such: impl FnMut(&Weather) -> bool) {
        let mut weather = self.weather.subscribe();
        // The sender is ours and stays.
        drop(weather.wait_for(such).await);
    }
}

/// One direction of one connection.
struct Line<'a> {
    shared: &'a Shared,
    number: u64,
    direction: Direction,
    left: Option<u64>,
}

impl Line<'_> {
    /// Carries bytes until either side ends, or as many as may pass.
    async fn carry(mut self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut space = vec![0; BLOCK];
        loop {
            let block = self
                .shared
                .weather
                .borrow()
                .block
                .unwrap_or(BLOCK)
                .min(BLOCK);
            let Ok(length @ 1..) = from.read(&mut space[..block]).await else {
                return;
            };
            let number = self.number;
            // Asked for what was read: whoever ends it need not have been heard yet.
            let Weather { cut, trap, .. } = *self.shared.weather.borrow();
            let trapped = |(upto, way)| number <= upto && way == self.direction;
            if number <= cut || trap.is_some_and(trapped) {
                return;
            }
            self.shared.is(|w| !w.stalled && w.silent < number).await;
            let delay = self.shared.weather.borrow().delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let length = match &mut self.left {
                Some(left) => {
                    let may = usize::try_from(*left).unwrap_or(length).min(length);
                    *left -= may as u64;
                    may
                }
                None => length,
            };
            if to.write_all(&space[..length]).await.is_err() || to.flush().await.is_err() {
                return;
            }
            let counter = self.shared.counter(self.direction);
            counter.fetch_add(length as u64, Ordering::Relaxed);
            if self.left == Some(0) {
                return;
            }
        }
    }
}
