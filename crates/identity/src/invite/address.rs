//! Addresses of servers: `host:port`, of characters that are safe to print.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Longest address, in bytes: a DNS name has at most 253.
pub(super) const ADDRESS_BYTES_MAX: usize = 255;

/// A text is not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an address: write host:port, or [address]:port for IPv6")]
pub struct NotAnAddress;

/// A host, by name or number, and a port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: String,
    colon: usize,
    port: u16,
}

impl Address {
    /// The host, without the brackets of IPv6.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text[..self.colon].trim_matches(['[', ']'])
    }

    /// The port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(NotAnAddress);
        }
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = port.parse().map_err(|_| NotAnAddress)?;
        if !digits || port == 0 || !is_host(host) {
            return Err(NotAnAddress);
        }
        Ok(Self {
            text: text.to_owned(),
            colon: host.len(),
            port,
        })
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        let number = inside.strip_suffix(']');
        return number.is_some_and(|number| number.parse::<Ipv6Addr>().is_ok());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !host.is_empty() && !host.starts_with('-') && host.bytes().all(plain)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("box:7005", "box", 7005),
            ("build.example.org:1", "build.example.org", 1),
            ("192.0.2.1:65535", "192.0.2.1", 65535),
            ("[2001:db8::1]:7005", "2001:db8::1", 7005),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("{}:1", "a".repeat(254));
        for text in [
            "",
            "box",
            ":1",
            "box:",
            "box:0",
            "box:+1",
            "box:65536",
            "a b:1",
            "a\n:1",
            "-x:1",
            "2001:db8::1:1",
            "[box]:1",
            "[::1:1",
            "https://box:1",
            "b\u{f6}x:1",
            &long,
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
