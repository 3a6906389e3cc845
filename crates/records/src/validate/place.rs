//! Where in a record an offset is, told as a JSON pointer. Only asked once something is wrong.

use std::fmt::Write;
use std::ops::Range;

enum Step {
    Key(Option<Range<usize>>),
    Element(u64),
}

/// The path to the offset `at` in the record that begins at `start` and is JSON as far as that offset.
pub(crate) fn pointer(input: &[u8], start: usize, at: usize) -> String {
    let input = &input[..at.min(input.len())];
    let mut steps: Vec<Step> = Vec::new();
    let (mut offset, mut key_next) = (start, false);
    while let Some(&byte) = input.get(offset) {
        match byte {
            b'"' => {
                let end = end_of_string(input, offset + 1);
                if let (true, Some(Step::Key(key))) = (key_next, steps.last_mut()) {
                    *key = Some(offset + 1..end);
                    key_next = false;
                }
                offset = end;
            }
            b'{' => {
                steps.push(Step::Key(None));
                key_next = true;
            }
            b'[' => {
                steps.push(Step::Element(0));
                key_next = false;
            }
            b'}' | b']' => {
                steps.pop();
            }
            b',' => match steps.last_mut() {
                Some(Step::Element(n)) => *n += 1,
                Some(Step::Key(key)) => {
                    *key = None;
                    key_next = true;
                }
                None => {}
            },
            _ => {}
        }
        offset += 1;
    }
    told(input, &steps)
}

fn told(input: &[u8], steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(Some(key)) => {
                let key = String::from_utf8_lossy(&input[key.clone()]);
                path.push('/');
                path.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Step::Element(n) => drop(write!(path, "/{n}")),
            Step::Key(None) => {}
        }
    }
    path
}

/// The offset of the closing quotation mark, or the end of the input.
pub(crate) fn end_of_string(input: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = input.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    input.len()
}
