//! Lines of a log for people: when, who, and what.

/// Behind the body of a line: `,"crc":"89abcdef"}`.
const CRC: usize = 18;
/// What a line may tell, by the name of its body.
const KINDS: [&str; 4] = ["data", "gap", "rejected", "lost"];

/// The members that are shown. They come in one order, and what stands before the body is never escaped.
#[derive(Debug, Default)]
struct Line<'a> {
    received_at: &'a str,
    client: &'a str,
    body: Option<(&'static str, &'a str)>,
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let word = |key: &str| {
            let (_, behind) = line.split_once(&format!("\"{key}\":\""))?;
            behind.split_once('"').map(|(word, _)| word)
        };
        let whole = line.get(..line.len().checked_sub(CRC)?)?;
        let bodies = KINDS.into_iter().filter_map(|kind| {
            let at = whole.find(&format!(",\"{kind}\":"))?;
            Some((at, kind))
        });
        let body = bodies.min().map(|(at, kind)| {
            let begins = at + kind.len() + 4;
            (kind, &whole[begins..])
        });
        Some(Self {
            received_at: word("received_at")?,
            client: word("client").unwrap_or_default(),
            body,
        })
    }
}

/// Each of some whole lines, shown.
pub(crate) fn each(text: &[u8], show: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines.flat_map(show).collect()
}

/// What a client sent, of a whole line; nothing of one that tells something else.
pub(crate) fn data(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    match Line::read(line).and_then(|line| line.body) {
        Some(("data", data)) => format!("{data}\n").into_bytes(),
        _ => Vec::new(),
    }
}

/// A whole line as it is shown, ended by a line feed. What cannot be read is shown as it stands there.
pub(crate) fn line(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let shown = Line::read(line).map(|line| {
        let (when, who) = (line.received_at, line.client);
        match line.body {
            Some(("data", data)) => format!("{when} {who} {data}\n"),
            Some((kind, body)) => format!("{when} {who} !{kind} {body}\n"),
            None => format!("{when} {who} !\n"),
        }
    });
    shown.map_or_else(|| [line, b"\n"].concat(), String::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::{data, line};

    #[test]
    fn lines_are_shown_with_what_they_tell() {
        let record = b"{\"seq\":1,\"received_at\":\"T\",\"client\":\"web\",\"data\":{\"gap\":1.0,\"lost\":2},\"crc\":\"89abcdef\"}\n";
        assert_eq!(line(record), b"T web {\"gap\":1.0,\"lost\":2}\n");
        assert_eq!(data(record), b"{\"gap\":1.0,\"lost\":2}\n");
        let gap = b"{\"seq\":1,\"received_at\":\"T\",\"client\":\"web\",\"gap\":{\"first\":1},\"crc\":\"89abcdef\"}";
        assert_eq!(line(gap), b"T web !gap {\"first\":1}\n");
        assert_eq!(data(gap), b"");
        assert_eq!(line(b"{"), b"{\n");
    }
}
