//! BLAKE3-256 values: of a file's content, and of a whole tree (its root).

use std::fmt;

/// A BLAKE3-256 hash: the content of a file, or the root of a tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The hash of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// Reads 32 bytes; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Thousands of files of a commit are named so.
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        f.write_str(&digits.map(digit).collect::<String>())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Digest({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn shown_as_hex_and_read_back_from_bytes() {
        let digest = Digest::of(b"");
        assert!(digest.to_string().starts_with("af1349b9f5f9a1a6"));
        let mut slow = String::new();
        for byte in digest.as_bytes() {
            slow.push_str(&format!("{byte:02x}"));
        }
        assert_eq!(digest.to_string(), slow);
        assert_eq!(Digest::from_slice(digest.as_bytes()), Some(digest));
        assert_eq!(Digest::from_slice(&[0; 31]), None);
    }
}
