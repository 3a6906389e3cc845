//! The table on disk, so that an opening does not read the whole log. Without it, it does.
//!
//! `producers`: a line with the version and the number of the first line that it does not know, a line for each producer, and a last
//! line with the CRC-32 of all before it.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Producer, Producers};
use crate::faults::Faults;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    next: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    c: String,
    p: String,
    #[serde(flatten)]
    producer: Producer,
}

#[derive(Debug, Serialize, Deserialize)]
struct Footer {
    crc: u32,
}

impl Producers {
    /// Writes the table, as of the line before `next`.
    pub(crate) fn write(&self, path: &Path, next: u64, faults: &Faults) -> io::Result<()> {
        let mut text = Vec::new();
        let version = VERSION;
        line(&mut text, &Header { version, next })?;
        for (client, producers) in &self.known {
            for (name, producer) in producers {
                let entry = Entry {
                    c: client.clone(),
                    p: name.clone(),
                    producer: producer.clone(),
                };
                line(&mut text, &entry)?;
            }
        }
        let crc = crc32fast::hash(&text);
        line(&mut text, &Footer { crc })?;
        faults.replace(path, |mut file| file.write_all(&text))
    }

    /// Reads the table, and which line comes next. Nothing if there is none, or none that can be used.
    pub(crate) fn read(&mut self, path: &Path) -> Option<u64> {
        let text = std::fs::read(path).ok()?;
        let end = memchr::memrchr(b'\n', text.strip_suffix(b"\n")?)? + 1;
        let footer: Footer = serde_json::from_slice(&text[end..]).ok()?;
        if footer.crc != crc32fast::hash(&text[..end]) {
            return None;
        }
        let mut lines = text[..end].split_inclusive(|&byte| byte == b'\n');
        let header: Header = serde_json::from_slice(lines.next()?).ok()?;
        if header.version != VERSION {
            return None;
        }
        for line in lines {
            let entry: Entry = serde_json::from_slice(line).ok()?;
            let producers = self.known.entry(entry.c).or_default();
            producers.insert(entry.p, entry.producer);
        }
        Some(header.next)
    }
}

fn line(text: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *text, value)?;
    text.push(b'\n');
    Ok(())
}
