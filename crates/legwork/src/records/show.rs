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

/// What a terminal would obey, or show elsewhere than it stands, as JSON writes it: the text means the same.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A whole line as it is shown, ended by a line feed. What cannot be read is shown as it stands there. Nothing in it does anything to a terminal.
pub(crate) fn line(line: &[u8]) -> Vec<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let shown = Line::read(line).map(|line| {
        let (when, who) = (line.received_at, line.client);
        match line.body {
            Some(("data", data)) => format!("{when} {who} {data}"),
            Some((kind, body)) => format!("{when} {who} !{kind} {body}"),
            None => format!("{when} {who} !"),
        }
    });
    let shown = shown.unwrap_or_else(|| String::from_utf8_lossy(line).into_owned());
    let mut shown = plain(&shown).into_bytes();
    shown.push(b'\n');
    shown
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

    #[test]
    fn a_terminal_is_told_nothing_by_a_record() {
        let record = "{\"received_at\":\"T\",\"client\":\"w\u{9b}2J\",\"data\":{\"x\":\"\u{9b}31m\u{202e}\u{e4}\u{7f}\"},\"crc\":\"89abcdef\"}\n";
        let shown = line(record.as_bytes());
        let told = "T w\\u009b2J {\"x\":\"\\u009b31m\\u202e\u{e4}\\u007f\"}\n";
        assert_eq!(String::from_utf8(shown).unwrap(), told);
        assert_eq!(line(b"\x1b[2J\xff\n"), "\\u001b[2J\u{fffd}\n".as_bytes());
    }
}
