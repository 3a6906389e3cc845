//! What a job may tell a terminal: text, colours and little else.
//!
//! A terminal does what it reads: it answers questions as if they were typed, sets its own title, writes to the clipboard (ECMA-48, and
//! xterm's control sequences). Output that is shown is somebody else's, so on a terminal only what changes the look of the text and
//! the line it is in goes through; everything else is shown as characters, in the manner of `cat -v`. Nothing that goes to a file or a
//! pipe is touched.
//!
//! A sequence may be cut by the end of a piece, so its beginning is kept until it is complete, or longer than any that we let through.

use bytes::Bytes;

/// Longest sequence that goes through.
const LONGEST: usize = 64;
const ESCAPE: u8 = 0x1b;
/// The first of the two bytes that the controls U+0080 to U+009F have in UTF-8.
const HIGH: u8 = 0xc2;

/// What is known of one stream.
#[derive(Debug, Default)]
pub(super) struct Escapes {
    /// The beginning of a sequence.
    held: Vec<u8>,
}

impl Escapes {
    /// A piece, harmless. What is at its end and may be part of a sequence comes with the next one.
    pub(super) fn tame(&mut self, piece: Bytes) -> Bytes {
        if self.held.is_empty() && !piece.iter().any(|byte| is_doubtful(*byte)) {
            return piece;
        }
        let mut tame = Vec::with_capacity(piece.len() + self.held.len() + 16);
        for byte in piece {
            self.take(byte, &mut tame);
        }
        tame.into()
    }

    /// What was kept, and will be nothing more.
    pub(super) fn rest(&mut self) -> Bytes {
        let mut tame = Vec::new();
        self.give_up(&mut tame);
        tame.into()
    }

    fn take(&mut self, byte: u8, tame: &mut Vec<u8>) {
        match self.held.as_slice() {
            [] if byte == ESCAPE || byte == HIGH => self.held.push(byte),
            [] => show(byte, tame),
            [HIGH] => {
                self.held.clear();
                if (0x80..0xa0).contains(&byte) {
                    tame.extend(format!("<U+{byte:04X}>").bytes());
                } else {
                    tame.push(HIGH);
                    self.take(byte, tame);
                }
            }
            [ESCAPE] if byte == b'[' => self.held.push(byte),
            [ESCAPE] => self.refuse(byte, tame),
            _ if matches!(byte, b'0'..=b'9' | b';' | b':') && self.held.len() < LONGEST => {
                self.held.push(byte);
            }
            // The look of the text, and the rest of the line erased.
            _ if matches!(byte, b'm' | b'K') => {
                tame.append(&mut self.held);
                tame.push(byte);
            }
            _ => self.refuse(byte, tame),
        }
    }

    /// It is none that goes through.
    fn refuse(&mut self, byte: u8, tame: &mut Vec<u8>) {
        self.give_up(tame);
        self.take(byte, tame);
    }

    fn give_up(&mut self, tame: &mut Vec<u8>) {
        for byte in std::mem::take(&mut self.held) {
            show(byte, tame);
        }
    }
}

/// A control that moves within the line, or to the next.
fn is_layout(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | b'\t' | 0x08)
}

fn is_doubtful(byte: u8) -> bool {
    (byte.is_ascii_control() && !is_layout(byte)) || byte == HIGH
}

fn show(byte: u8, tame: &mut Vec<u8>) {
    if byte.is_ascii_control() && !is_layout(byte) {
        tame.extend([b'^', byte ^ 0x40]);
    } else {
        tame.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::{Escapes, LONGEST};

    fn shown(pieces: &[&[u8]]) -> Vec<u8> {
        let mut escapes = Escapes::default();
        let mut all = Vec::new();
        for piece in pieces {
            all.extend(escapes.tame(Bytes::copy_from_slice(piece)));
        }
        all.extend(escapes.rest());
        all
    }

    #[test]
    fn text_and_colours_go_through() {
        for text in [
            "plain\ttext\r\nü \u{a0}\u{c2} 漢\u{8}",
            "\u{1b}[1;31mred\u{1b}[0m\u{1b}[K",
            "\u{1b}[38:2::1:2:3mrgb\u{1b}[m",
        ] {
            assert_eq!(shown(&[text.as_bytes()]), text.as_bytes());
        }
        let raw = b"\xff\xfe\xc2";
        assert_eq!(shown(&[raw]), raw);
    }

    #[test]
    fn everything_else_is_shown() {
        for (text, expected) in [
            ("\u{1b}]0;title\u{7}", "^[]0;title^G"),
            ("\u{1b}[2J\u{1b}[6n", "^[[2J^[[6n"),
            ("\u{1b}P$q\u{1b}\\", "^[P$q^[\\"),
            ("\u{1b}\u{1b}[31mx", "^[\u{1b}[31mx"),
            ("\u{9b}6n\u{7f}\0", "<U+009B>6n^?^@"),
            ("\u{1b}[?1049h", "^[[?1049h"),
            ("end\u{1b}[1", "end^[[1"),
        ] {
            assert_eq!(shown(&[text.as_bytes()]), expected.as_bytes(), "{text:?}");
        }
        let long = format!("\u{1b}[{}m", "1;".repeat(LONGEST));
        assert!(!shown(&[long.as_bytes()]).contains(&0x1b));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_is_shown(
            text in prop::collection::vec(prop::sample::select(b"\x1b[;m1K\xc2\x9b\n]a".to_vec()), 0..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let whole = shown(&[&text]);
            prop_assert_eq!(shown(&pieces), whole.clone());
            // A sequence that goes through twice is the same twice.
            prop_assert_eq!(shown(&[&whole]), whole);
        }

        #[test]
        fn a_terminal_is_never_told_more(text in prop::collection::vec(any::<u8>(), 0..80)) {
            let shown = shown(&[&text]);
            for (at, _) in shown.iter().enumerate().filter(|(_, byte)| **byte == 0x1b) {
                let end = shown[at..].iter().find(|byte| byte.is_ascii_alphabetic());
                prop_assert!(shown[at + 1] == b'[' && matches!(end, Some(b'm' | b'K')));
            }
        }
    }
}
