//! What is said to a living shim, over the unix stream socket `control` in the job directory.
//!
//! A frame is `u32 length, u16 kind, payload`, little-endian, where length counts the kind and the
//! payload. Every request is answered by exactly one reply on the same connection, in order. A shim
//! answers a kind that it does not know with [`Reply::Unsupported`] and goes on, so newer clients can
//! ask. While the payload's standard input is full, the shim leaves the next frames of that
//! connection unread: the socket is the back-pressure.
//!
//! Nothing is negotiated. What a kind means never changes; a later version has more kinds, more fields in a payload of JSON, and
//! more bytes behind one of fixed length, all of which an earlier one passes over. A request of one version has only replies
//! of that version, so whoever asks understands every answer. Which version a shim speaks is in its claim ([`crate::launch`]).

use alloc::string::String;
use alloc::vec::Vec;
#[cfg(feature = "std")]
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// The protocol version that [`Request`] and [`Reply`] describe.
pub const VERSION: u16 = 1;
/// Largest frame after the length field, in bytes. A peer that announces more is cut off.
pub const FRAME_MAX: usize = 256 * 1024;

/// Something asked of a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Bytes for the payload's standard input. `offset` is the position of the first of them since
    /// the job's start; what the shim already has is skipped, so a repeat is harmless. A gap is refused
    /// with `EINVAL`.
    Stdin {
        /// Position of the first byte.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// No more standard input after what was sent.
    StdinEnd,
    /// Send this signal (a number as in signal(7)) to the main process.
    Signal(i32),
    /// Stop the job: signal, grace, then the whole tree. Repeating it may shorten the grace.
    Stop(Stop),
    /// Hold the whole job still. Repeating it changes nothing.
    Pause,
    /// Let it go on.
    Resume,
}

/// How to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// First signal; `None` means the one in the spec.
    pub signal: Option<i32>,
    /// Milliseconds until the whole tree is killed; `None` means what the spec says.
    pub grace_ms: Option<u64>,
    /// The principal who asks, for the exit record.
    pub by: String,
}

/// A shim's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done, or begun in the case of a stop.
    Done,
    /// Standard input up to this offset is in the pipe.
    StdinTaken(u64),
    /// The payload has closed its standard input, or was never given one.
    StdinClosed,
    /// Failed with this errno(3).
    Failed(i32),
    /// This shim does not know that kind of request.
    Unsupported,
}

/// A frame that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed or ended inside a frame.
    #[cfg(feature = "std")]
    #[error("control connection: {0}")]
    Io(#[from] io::Error),
    /// The peer announced more than [`FRAME_MAX`], or less than a kind.
    #[error("control frame of {0} bytes is outside the limits")]
    Length(usize),
    /// A known kind with a payload that is not of its form.
    #[error("control frame of kind {0} is malformed")]
    Malformed(u16),
    /// A kind that this build does not know.
    #[error("control frame of unknown kind {0}")]
    Unknown(u16),
}

const STDIN: u16 = 1;
const STDIN_END: u16 = 2;
const SIGNAL: u16 = 3;
const STOP: u16 = 4;
const PAUSE: u16 = 5;
const RESUME: u16 = 6;
const DONE: u16 = 0x8001;
const STDIN_TAKEN: u16 = 0x8002;
const STDIN_CLOSED: u16 = 0x8003;
const FAILED: u16 = 0x8004;
const UNSUPPORTED: u16 = 0x8005;

fn frame(kind: u16, payload: &[&[u8]]) -> Vec<u8> {
    let length = 2 + payload.iter().map(|part| part.len()).sum::<usize>();
    let mut raw = Vec::with_capacity(4 + length);
    raw.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    raw.extend_from_slice(&kind.to_le_bytes());
    for part in payload {
        raw.extend_from_slice(part);
    }
    raw
}

/// The beginning of a payload; what a later version has put behind it is not looked at.
fn array<const N: usize>(kind: u16, payload: &[u8]) -> Result<[u8; N], FrameError> {
    payload
        .first_chunk()
        .copied()
        .ok_or(FrameError::Malformed(kind))
}

/// A frame cut off the front of a buffer: its kind, its payload, and the bytes it took.
pub type Cut<'a> = (u16, &'a [u8], usize);

/// Cuts one frame off the front of `raw`: its kind, its payload, and the bytes it took.
/// `None` when more bytes are needed.
///
/// # Errors
/// [`FrameError::Length`] when the announced length is outside the limits.
pub fn split(raw: &[u8]) -> Result<Option<Cut<'_>>, FrameError> {
    let Some(head) = raw.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*head) as usize;
    if !(2..=FRAME_MAX).contains(&length) {
        return Err(FrameError::Length(length));
    }
    let Some(body) = raw.get(4..4 + length) else {
        return Ok(None);
    };
    let kind = u16::from_le_bytes([body[0], body[1]]);
    Ok(Some((kind, &body[2..], 4 + length)))
}

/// Reads one whole frame: its kind and its payload.
///
/// # Errors
/// [`FrameError::Io`] at the end of the stream too; [`FrameError::Length`].
#[cfg(feature = "std")]
pub fn read_frame(from: &mut impl Read) -> Result<(u16, Vec<u8>), FrameError> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = u32::from_le_bytes(head) as usize;
    if !(2..=FRAME_MAX).contains(&length) {
        return Err(FrameError::Length(length));
    }
    let mut body = alloc::vec![0; length];
    from.read_exact(&mut body)?;
    let kind = u16::from_le_bytes([body[0], body[1]]);
    body.drain(..2);
    Ok((kind, body))
}

/// Writes an encoded frame.
///
/// # Errors
/// What the stream says.
#[cfg(feature = "std")]
pub fn write_frame(to: &mut impl Write, raw: &[u8]) -> io::Result<()> {
    to.write_all(raw)
}

impl Request {
    /// The frame, length field included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdin { offset, data } => frame(STDIN, &[&offset.to_le_bytes(), data]),
            Self::StdinEnd => frame(STDIN_END, &[]),
            Self::Pause => frame(PAUSE, &[]),
            Self::Resume => frame(RESUME, &[]),
            Self::Signal(number) => frame(SIGNAL, &[&number.to_le_bytes()]),
            Self::Stop(stop) => frame(
                STOP,
                &[&serde_json::to_vec(stop).expect("a stop has only JSON types")],
            ),
        }
    }

    /// Reads a frame's kind and payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] and [`FrameError::Unknown`].
    pub fn decode(kind: u16, payload: &[u8]) -> Result<Self, FrameError> {
        match kind {
            STDIN => {
                let (offset, data) = payload
                    .split_first_chunk::<8>()
                    .ok_or(FrameError::Malformed(kind))?;
                Ok(Self::Stdin {
                    offset: u64::from_le_bytes(*offset),
                    data: data.to_vec(),
                })
            }
            STDIN_END => Ok(Self::StdinEnd),
            PAUSE => Ok(Self::Pause),
            RESUME => Ok(Self::Resume),
            SIGNAL => Ok(Self::Signal(i32::from_le_bytes(array(kind, payload)?))),
            STOP => serde_json::from_slice(payload)
                .map(Self::Stop)
                .map_err(|_| FrameError::Malformed(kind)),
            _ => Err(FrameError::Unknown(kind)),
        }
    }
}

impl Reply {
    /// The frame, length field included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Done => frame(DONE, &[]),
            Self::StdinTaken(offset) => frame(STDIN_TAKEN, &[&offset.to_le_bytes()]),
            Self::StdinClosed => frame(STDIN_CLOSED, &[]),
            Self::Failed(errno) => frame(FAILED, &[&errno.to_le_bytes()]),
            Self::Unsupported => frame(UNSUPPORTED, &[]),
        }
    }

    /// Reads a frame's kind and payload.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] and [`FrameError::Unknown`].
    pub fn decode(kind: u16, payload: &[u8]) -> Result<Self, FrameError> {
        match kind {
            DONE => Ok(Self::Done),
            STDIN_TAKEN => Ok(Self::StdinTaken(u64::from_le_bytes(array(kind, payload)?))),
            STDIN_CLOSED => Ok(Self::StdinClosed),
            FAILED => Ok(Self::Failed(i32::from_le_bytes(array(kind, payload)?))),
            UNSUPPORTED => Ok(Self::Unsupported),
            _ => Err(FrameError::Unknown(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FRAME_MAX, FrameError, Reply, Request, Stop, read_frame, split};

    fn request() -> impl Strategy<Value = Request> {
        let stop = (any::<Option<i32>>(), any::<Option<u64>>(), any::<String>());
        prop_oneof![
            (any::<u64>(), any::<Vec<u8>>())
                .prop_map(|(offset, data)| Request::Stdin { offset, data }),
            Just(Request::StdinEnd),
            any::<i32>().prop_map(Request::Signal),
            stop.prop_map(|(signal, grace_ms, by)| Request::Stop(Stop {
                signal,
                grace_ms,
                by
            })),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        prop_oneof![
            Just(Reply::Done),
            any::<u64>().prop_map(Reply::StdinTaken),
            Just(Reply::StdinClosed),
            any::<i32>().prop_map(Reply::Failed),
            Just(Reply::Unsupported),
        ]
    }

    #[test]
    fn the_frames_are_pinned() {
        let stdin = Request::Stdin {
            offset: 258,
            data: b"hi".to_vec(),
        };
        assert_eq!(
            stdin.encode(),
            [12, 0, 0, 0, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0, b'h', b'i']
        );
        assert_eq!(Request::StdinEnd.encode(), [2, 0, 0, 0, 2, 0]);
        assert_eq!(
            Request::Signal(15).encode(),
            [6, 0, 0, 0, 3, 0, 15, 0, 0, 0]
        );
        let stop = Request::Stop(Stop {
            signal: None,
            grace_ms: Some(5),
            by: "me".into(),
        });
        let json = br#"{"signal":null,"grace_ms":5,"by":"me"}"#;
        let head = [2 + 38, 0, 0, 0, 4, 0];
        assert_eq!(stop.encode(), [&head[..], json].concat());
        assert_eq!(Reply::Done.encode(), [2, 0, 0, 0, 1, 0x80]);
        assert_eq!(
            Reply::StdinTaken(3).encode(),
            [10, 0, 0, 0, 2, 0x80, 3, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(Reply::StdinClosed.encode(), [2, 0, 0, 0, 3, 0x80]);
        assert_eq!(
            Reply::Failed(22).encode(),
            [6, 0, 0, 0, 4, 0x80, 22, 0, 0, 0]
        );
        assert_eq!(Reply::Unsupported.encode(), [2, 0, 0, 0, 5, 0x80]);
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let longer = [15, 0, 0, 0, 9, 9];
        let signal = Request::decode(super::SIGNAL, &longer).unwrap();
        assert_eq!(signal, Request::Signal(15));
        assert!(Request::decode(super::SIGNAL, &longer[..3]).is_err());
        let stop = br#"{"signal":null,"grace_ms":5,"by":"me","gently":{"n":1}}"#;
        let stop = Request::decode(super::STOP, stop).unwrap();
        assert!(matches!(
            stop,
            Request::Stop(Stop {
                grace_ms: Some(5),
                ..
            })
        ));
        let failed = Reply::decode(super::FAILED, &[22, 0, 0, 0, 1]).unwrap();
        assert_eq!(failed, Reply::Failed(22));
        for kind in [7, 0x7fff] {
            let unknown = Request::decode(kind, &longer);
            assert!(matches!(unknown, Err(FrameError::Unknown(found)) if found == kind));
        }
    }

    #[test]
    fn an_unreasonable_length_is_refused_before_it_is_believed() {
        for length in [0, 1, FRAME_MAX + 1, u32::MAX as usize] {
            let head = u32::try_from(length).unwrap().to_le_bytes();
            assert!(matches!(split(&head), Err(FrameError::Length(l)) if l == length));
            let read = read_frame(&mut &head[..]);
            assert!(matches!(read, Err(FrameError::Length(l)) if l == length));
        }
    }

    proptest! {
        #[test]
        fn requests_survive_however_they_are_cut(requests in prop::collection::vec(request(), 0..5)) {
            let raw: Vec<u8> = requests.iter().flat_map(Request::encode).collect();
            let (mut seen, mut buffer) = (Vec::new(), Vec::new());
            for byte in raw {
                buffer.push(byte);
                if let Some((kind, payload, length)) = split(&buffer).unwrap() {
                    seen.push(Request::decode(kind, payload).unwrap());
                    buffer.drain(..length);
                }
            }
            prop_assert_eq!(seen, requests);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn replies_survive(reply in reply()) {
            let raw = reply.encode();
            let (kind, payload) = read_frame(&mut raw.as_slice()).unwrap();
            prop_assert_eq!(Reply::decode(kind, &payload).unwrap(), reply);
        }

        #[test]
        fn nothing_that_a_peer_sends_is_a_panic(raw: Vec<u8>, kind: u16) {
            if let Ok(Some((kind, payload, length))) = split(&raw) {
                prop_assert!(length <= raw.len());
                drop(Request::decode(kind, payload));
            }
            drop(Request::decode(kind % 8, &raw));
            drop(Reply::decode(0x8000 | (kind % 8), &raw));
            drop(read_frame(&mut raw.as_slice()));
        }
    }
}
