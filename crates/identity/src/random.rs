//! Random numbers that nobody can guess.

use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::UnixTime;
use uuid::{Builder, Uuid};

/// Bytes from the kernel.
///
/// # Panics
/// When the kernel gives no random bytes, which it never refuses after boot.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    assert_eq!(filled, Ok(()), "the kernel's random source");
    bytes
}

/// A new id. Those made later sort later.
pub(crate) fn uuid(now: UnixTime) -> Uuid {
    Builder::from_unix_timestamp_millis(now.as_secs().saturating_mul(1000), &bytes()).into_uuid()
}
