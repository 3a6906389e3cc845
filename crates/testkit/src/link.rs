//! A link as networks have them: bytes are so late, and no more than so many come through in a second, on all connections together.
//!
//! Each direction is a queue. A block leaves it when those before it have left, at the link's rate, and arrives a while after that. When
//! the queue is full, nothing more is taken from the sender, whose own TCP then waits. So a sender sees what it would see behind a modem,
//! apart from packets that are lost. Whoever is measured through it may be any program that speaks TCP.
//!
//! Blocks arrive by a clock of the kernel's, for the runtime's own counts milliseconds and rounds them up: that would make a round trip two
//! or three longer than was asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::Direction;

/// Bytes that travel together.
const BLOCK: usize = 16 << 10;
/// How much waits before the link, in time.
const QUEUE: Duration = Duration::from_millis(50);
/// What the kernel may hold of one connection, in bytes: small, or the queue would be there.
const SOCKET: u32 = 64 << 10;

/// What a link is like.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// From one end to the other and back.
    pub round_trip: Duration,
    /// Bytes per second in each direction; `None` for as many as come.
    pub rate: Option<u64>,
}

/// A link to one address.
#[derive(Debug, Clone)]
pub struct Link {
    ways: [Arc<Way>; 2],
    at: SocketAddr,
}

/// One direction.
#[derive(Debug)]
struct Way {
    quality: Quality,
    /// When the last byte so far has left.
    free: Mutex<Instant>,
    passed: AtomicU64,
}

impl Link {
    /// Makes a port of this machine that leads to `far` over such a link. It works on `tasks`, for as long as the runtime does.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn open(quality: Quality, far: SocketAddr, tasks: &TaskTracker) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SOCKET)?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(64)?;
        let link = Self {
            ways: [(); 2].map(|()| Arc::new(Way::new(quality))),
            at: listener.local_addr()?,
        };
        tasks.spawn(link.clone().accept(listener, far, tasks.clone()));
        Ok(link)
    }

    /// Its near end.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.at
    }

    /// How many bytes have come through in a direction, on all connections.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.way(direction).passed.load(Ordering::Relaxed)
    }

    fn way(&self, direction: Direction) -> &Arc<Way> {
        match direction {
            Direction::Up => &self.ways[0],
            Direction::Down => &self.ways[1],
        }
    }

    async fn accept(self, listener: TcpListener, far: SocketAddr, tasks: TaskTracker) {
        while let Ok((near, _)) = listener.accept().await {
            let (link, more) = (self.clone(), tasks.clone());
            tasks.spawn(async move {
                // Who cannot be connected is hung up on, which is all that the near end can be told.
                if let Ok(far) = connect(far).await
                    && near.set_nodelay(true).is_ok()
                {
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    link.way(Direction::Up).carry(near_in, far_out, &more);
                    link.way(Direction::Down).carry(far_in, near_out, &more);
                }
            });
        }
    }
}

async fn connect(far: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET)?;
    let far = socket.connect(far).await?;
    far.set_nodelay(true)?;
    Ok(far)
}

impl Way {
    fn new(quality: Quality) -> Self {
        Self {
            quality,
            free: Mutex::new(Instant::now()),
            passed: AtomicU64::new(0),
        }
    }

    /// When so many bytes have left, which are there now.
    fn leave(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let Some(rate) = self.quality.rate else {
            return now;
        };
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = (*free).max(now) + takes;
        *free
    }

    fn carry(self: &Arc<Self>, from: OwnedReadHalf, to: OwnedWriteHalf, tasks: &TaskTracker) {
        // Bounded by the queue's time; as messages only so that there is a bound.
        let (late, early) = mpsc::channel(64 << 10);
        let (reads, writes) = (Arc::clone(self), Arc::clone(self));
        tasks.spawn(async move { reads.take(from, late).await });
        tasks.spawn(async move { writes.give(early, to).await });
    }

    async fn take(&self, mut from: OwnedReadHalf, late: mpsc::Sender<(Instant, Vec<u8>)>) {
        let mut space = vec![0; BLOCK];
        while let Ok(length @ 1..) = from.read(&mut space).await {
            let left = self.leave(length);
            let arrives = left + self.quality.round_trip / 2;
            let block = space[..length].to_vec();
            if late.send((arrives, block)).await.is_err() {
                return;
            }
            sleep_until(left.checked_sub(QUEUE).unwrap_or(left)).await;
        }
    }

    async fn give(&self, mut early: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) {
        let Ok(mut alarm) = Alarm::new() else {
            return;
        };
        while let Some((arrives, block)) = early.recv().await {
            if alarm.at(arrives).await.is_err() || to.write_all(&block).await.is_err() {
                return;
            }
            self.passed.fetch_add(block.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Wakes when it is time, to some microseconds: `timerfd_create(2)`. One can be read as a pipe is, from which a number comes with each alarm.
struct Alarm(pipe::Receiver);

impl Alarm {
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        pipe::Receiver::from_owned_fd_unchecked(timer).map(Self)
    }

    /// Returns at `time`, or at once if that is over.
    async fn at(&mut self, time: Instant) -> io::Result<()> {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        self.0.read_exact(&mut [0; 8]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    use super::{Link, Quality, Way};
    use crate::Direction;

    #[tokio::test(start_paused = true)]
    async fn bytes_leave_one_after_the_other_at_the_rate() {
        let way = Way::new(Quality {
            round_trip: Duration::ZERO,
            rate: Some(1000),
        });
        let begin = Instant::now();
        assert_eq!(way.leave(500) - begin, Duration::from_millis(500));
        assert_eq!(way.leave(250) - begin, Duration::from_millis(750));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(way.leave(100) - begin, Duration::from_millis(2100));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_they_leave_at_once() {
        let way = Way::new(Quality {
            round_trip: Duration::from_secs(1),
            rate: None,
        });
        let begin = Instant::now();
        assert_eq!(way.leave(1 << 30), begin);
        assert_eq!(way.leave(1), begin);
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_in_order_and_is_counted() {
        let far = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, tasks) = (far.local_addr().unwrap(), TaskTracker::new());
        tasks.spawn(async move {
            let (mut stream, _) = far.accept().await.unwrap();
            let (mut reads, mut writes) = stream.split();
            tokio::io::copy(&mut reads, &mut writes).await.unwrap();
        });
        let quality = Quality {
            round_trip: Duration::from_millis(2),
            rate: Some(100 << 20),
        };
        let link = Link::open(quality, at, &tasks).await.unwrap();
        let mut near = TcpStream::connect(link.address()).await.unwrap();
        let sent: Vec<u8> = (0..1 << 20_u32)
            .map(|n: u32| n.to_le_bytes()[n as usize % 3])
            .collect();
        let (mut reads, mut writes) = near.split();
        let mut came = Vec::new();
        let send = async {
            writes.write_all(&sent).await.unwrap();
            writes.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(reads.read_to_end(&mut came), send);
        assert_eq!(read.unwrap(), sent.len());
        assert!(came == sent, "other bytes came back");
        for direction in [Direction::Up, Direction::Down] {
            assert_eq!(link.passed(direction), sent.len() as u64);
        }
    }
}
