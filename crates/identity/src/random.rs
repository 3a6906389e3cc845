//! Random numbers that nobody can guess.

use ring::rand::{SecureRandom, SystemRandom};

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
