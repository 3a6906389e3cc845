//! The bytes of a token.
//!
//! ```text
//! u16 length of what follows · server 16 · authority 32 · secret 32 · u64 expiry, seconds
//! u8 count · count × (u8 length · address) · first 4 bytes of the SHA-256 of all before
//! ```
//!
//! Numbers are big-endian.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::UnixTime;
use uuid::Uuid;

use super::{Invite, InviteError, Secret, TOKEN_CHARS_MAX};
use crate::fingerprint::Fingerprint;

const KIND: &str = "lw";
const VERSION: u32 = 1;
const CHECK_BYTES: usize = 4;

pub(super) fn encode(invite: &Invite) -> String {
    let mut body = Vec::with_capacity(256);
    body.extend_from_slice(invite.server.as_bytes());
    body.extend_from_slice(invite.ca.as_bytes());
    body.extend_from_slice(invite.secret.as_bytes());
    body.extend_from_slice(&invite.expires_at.as_secs().to_be_bytes());
    body.push(u8::try_from(invite.addresses.len()).expect("bounded when made"));
    for address in &invite.addresses {
        let text = address.as_str().as_bytes();
        body.push(u8::try_from(text.len()).expect("bounded when made"));
        body.extend_from_slice(text);
    }
    let length = u16::try_from(body.len() + CHECK_BYTES).expect("at most 8 short addresses");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.append(&mut body);
    let check = check(&bytes);
    bytes.extend_from_slice(&check);
    format!("{KIND}{VERSION}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

pub(super) fn decode(token: &str) -> Result<Invite, InviteError> {
    let mut compact = String::new();
    for part in token.split_ascii_whitespace() {
        if compact.len() + part.len() > TOKEN_CHARS_MAX {
            return Err(InviteError::TooLong);
        }
        compact.push_str(part);
    }
    let bytes = base64(payload(&compact)?)?;
    let whole = whole(&bytes)?;
    let mut reader = Reader(whole);
    let server = Uuid::from_bytes(reader.array()?);
    let ca = Fingerprint::from_bytes(reader.array()?);
    let secret = Secret::from_bytes(reader.array()?);
    let expires_at = Duration::from_secs(u64::from_be_bytes(reader.array()?));
    let [count] = reader.array()?;
    let mut addresses = Vec::new();
    for _ in 0..count {
        let [length] = reader.array()?;
        let text = reader.take(usize::from(length))?;
        let text = str::from_utf8(text).map_err(|_| InviteError::Damaged)?;
        addresses.push(text.parse().map_err(|_| InviteError::Damaged)?);
    }
    if !reader.0.is_empty() {
        return Err(InviteError::Damaged);
    }
    let expires_at = UnixTime::since_unix_epoch(expires_at);
    Invite::new(addresses, server, ca, secret, expires_at)
}

/// What follows the prefix.
fn payload(token: &str) -> Result<&str, InviteError> {
    let rest = token.strip_prefix(KIND).ok_or(InviteError::Prefix)?;
    let (version, payload) = rest.split_once('.').ok_or(InviteError::Prefix)?;
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InviteError::Prefix);
    }
    match version.parse() {
        Ok(VERSION) => Ok(payload),
        Ok(version) if version > VERSION => Err(InviteError::Newer { version }),
        _ => Err(InviteError::Prefix),
    }
}

fn base64(text: &str) -> Result<Vec<u8>, InviteError> {
    use base64::DecodeError::{InvalidLastSymbol, InvalidLength};
    URL_SAFE_NO_PAD.decode(text).map_err(|error| match error {
        // Cut in the middle of a group.
        InvalidLength(_) | InvalidLastSymbol { .. } => InviteError::Truncated,
        _ => InviteError::Damaged,
    })
}

/// The body, without length and check sum, after both were checked.
fn whole(bytes: &[u8]) -> Result<&[u8], InviteError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(InviteError::Truncated)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if rest.len() < length {
        return Err(InviteError::Truncated);
    }
    let (checked, sum) = bytes
        .split_last_chunk::<CHECK_BYTES>()
        .ok_or(InviteError::Damaged)?;
    if rest.len() > length || *sum != check(checked) {
        return Err(InviteError::Damaged);
    }
    checked.get(2..).ok_or(InviteError::Damaged)
}

fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = Fingerprint::of(bytes);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// Takes bytes off the front, and never more than there are.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], InviteError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(InviteError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InviteError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(InviteError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }
}
