//! Bytes that are usually text.
//!
//! Arguments, environment and paths of a Unix process are bytes. In JSON they are a string when they
//! are UTF-8 and `{"base64": "…"}` when not, so that the usual case stays readable and none is lost.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of the operating system's making: an argument, a variable, a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteString(pub Vec<u8>);

impl ByteString {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As of a string, with each byte that is of none as `\xFF`.
impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '\'' => f.write_str("'")?,
                    other => write!(f, "{}", other.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02X}")?;
            }
        }
        f.write_str("\"")
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for ByteString {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for ByteString {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Repr {
    Text(String),
    Encoded { base64: String },
}

impl Serialize for ByteString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match core::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Repr::Encoded {
                base64: BASE64_STANDARD.encode(&self.0),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Repr::deserialize(deserializer)? {
            Repr::Text(text) => Ok(Self::from(text)),
            Repr::Encoded { base64 } => BASE64_STANDARD
                .decode(base64)
                .map(Self)
                .map_err(serde::de::Error::custom),
        }
    }
}

/// What only those with a standard library have a use for.
#[cfg(feature = "std")]
mod with_std {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::Path;

    use super::ByteString;

    impl ByteString {
        /// The bytes as an operating system string.
        #[must_use]
        pub fn as_os_str(&self) -> &OsStr {
            OsStr::from_bytes(&self.0)
        }

        /// The bytes as a path.
        #[must_use]
        pub fn as_path(&self) -> &Path {
            Path::new(self.as_os_str())
        }
    }

    impl From<OsString> for ByteString {
        fn from(text: OsString) -> Self {
            Self(text.into_vec())
        }
    }

    impl From<&Path> for ByteString {
        fn from(path: &Path) -> Self {
            Self(path.as_os_str().as_bytes().to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ByteString;

    #[test]
    fn text_stays_text_and_the_rest_is_base64() {
        let json = |bytes: &[u8]| serde_json::to_string(&ByteString(bytes.to_vec())).unwrap();
        assert_eq!(json("grün".as_bytes()), "\"grün\"");
        assert_eq!(json(b"\xff\x00"), "{\"base64\":\"/wA=\"}");
    }

    #[test]
    fn for_people_it_is_as_an_operating_system_string() {
        for bytes in [
            &b"plain"[..],
            b"\"it's\"\n\0",
            "gr\u{fc}n \u{301}".as_bytes(),
            b"a\xff\xc3b\xe2\x82",
        ] {
            let bytes = ByteString(bytes.to_vec());
            assert_eq!(format!("{bytes:?}"), format!("{:?}", bytes.as_os_str()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive(bytes: Vec<u8>) {
            let json = serde_json::to_string(&ByteString(bytes.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<ByteString>(&json).unwrap().0, bytes);
        }
    }
}
