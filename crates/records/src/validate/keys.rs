//! Whether an object has a key twice.

use std::ops::Range;

/// Up to so many keys each is compared with each, by a number of 64 bits made of it. Beyond, they are sorted.
const PAIRWISE_MAX: usize = 24;

/// The keys of the objects that are open: those of an inner one lie behind those of an outer one.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: Vec<Key>,
    /// The text of keys that have escapes.
    unescaped: Vec<u8>,
    order: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Key {
    /// Equal keys have equal ones.
    mark: u64,
    /// Where it is in the input; for one with escapes, where it is told.
    place: Range<usize>,
    /// Where the text of one with escapes is.
    unescaped: Option<Range<usize>>,
}

impl Key {
    fn text<'a>(&self, input: &'a [u8], unescaped: &'a [u8]) -> &'a [u8] {
        match &self.unescaped {
            Some(place) => &unescaped[place.clone()],
            None => &input[self.place.clone()],
        }
    }
}

impl Keys {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.unescaped.clear();
    }

    /// Takes a key, a string that has been checked.
    #[inline]
    pub(super) fn push(&mut self, input: &[u8], place: Range<usize>, escaped: bool) {
        let unescaped = escaped.then(|| {
            let start = self.unescaped.len();
            unescape(&input[place.clone()], &mut self.unescaped);
            start..self.unescaped.len()
        });
        let mut key = Key {
            mark: 0,
            place,
            unescaped,
        };
        key.mark = mark(key.text(input, &self.unescaped));
        self.keys.push(key);
    }

    /// Ends the innermost object, whose keys begin with this one. Where the second of two equal keys ends, if there are such.
    #[inline]
    pub(super) fn end(&mut self, from: usize, input: &[u8]) -> Option<usize> {
        let twice = if self.keys.len() - from <= PAIRWISE_MAX {
            self.pairwise(from, input)
        } else {
            self.sorted(from, input)
        };
        self.keys.truncate(from);
        twice
    }

    #[inline]
    fn pairwise(&self, from: usize, input: &[u8]) -> Option<usize> {
        let keys = &self.keys[from..];
        for (n, key) in keys.iter().enumerate() {
            for earlier in &keys[..n] {
                if key.mark == earlier.mark
                    && key.text(input, &self.unescaped) == earlier.text(input, &self.unescaped)
                {
                    return Some(key.place.end);
                }
            }
        }
        None
    }

    /// For many keys: no choice of keys makes this slow.
    fn sorted(&mut self, from: usize, input: &[u8]) -> Option<usize> {
        let keys = &self.keys[from..];
        let text = |n: u32| keys[n as usize].text(input, &self.unescaped);
        self.order.clear();
        self.order.extend((0..).take(keys.len()));
        self.order
            .sort_unstable_by(|&a, &b| text(a).cmp(text(b)).then(a.cmp(&b)));
        let pairs = self.order.windows(2);
        pairs
            .filter(|pair| text(pair[0]) == text(pair[1]))
            .map(|pair| keys[pair[1] as usize].place.end)
            .min()
    }
}

/// The first and the last eight bytes and the length, mixed.
#[inline]
fn mark(text: &[u8]) -> u64 {
    let short = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let (first, last) = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (short(text), 0),
    };
    let mixed = (first ^ last.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ text.len() as u64
}

/// Appends the text of a string that has been checked.
fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if byte != b'\\' {
            out.push(byte);
            at += 1;
            continue;
        }
        let escaped = text[at + 1];
        at += 2;
        match escaped {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut code = hex(&text[at..at + 4]);
                at += 4;
                if (0xd800..0xdc00).contains(&code) {
                    let low = hex(&text[at + 2..at + 6]);
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    at += 6;
                }
                let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            itself => out.push(itself),
        }
    }
}

fn hex(digits: &[u8]) -> u32 {
    let digit = |&byte: &u8| char::from(byte).to_digit(16).unwrap_or(0);
    digits
        .iter()
        .fold(0, |value, byte| value << 4 | digit(byte))
}
