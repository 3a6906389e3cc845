//! What is said between a [`KeptLauncher`](super::KeptLauncher) and a keeper: a packet of JSON each.
//!
//! The keeper outlives upgrades of whoever asks it, so this is additive: fields that are unknown are ignored, and a request that
//! is unknown is answered with ENOSYS.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use legwork_shim::ByteString;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The most descriptors that come with a message.
pub(crate) const DESCRIPTORS: usize = 3;
/// The most bytes of a message: the longest path, were each of its bytes written as six, and some words.
const BYTES_MAX: usize = 32 << 10;

/// What is asked of a keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Start a shim. With it come its program, the locked journal and its end of the handshake pipe.
    Launch {
        /// The job directory.
        dir: ByteString,
        /// What process lists show.
        title: String,
    },
    /// Say what you are.
    Look,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The shim was started.
    Launched {
        /// Its process id.
        pid: u32,
    },
    /// Nothing was started.
    Failed {
        /// errno(3).
        errno: i32,
    },
    /// What it is.
    Kept {
        /// Where jobs may have control groups.
        groups: Option<ByteString>,
        /// How many shims it has.
        shims: usize,
    },
}

/// Takes one message, with the descriptors that came with it.
pub(crate) fn receive<T: DeserializeOwned>(from: &OwnedFd) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; BYTES_MAX];
    let mut parts = [io::IoSliceMut::new(&mut text)];
    let got = recvmsg(
        from.as_fd(),
        &mut parts,
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let said = serde_json::from_slice(text.get(..got.bytes).unwrap_or_default())?;
    Ok((said, descriptors))
}
