//! A list of entries that is read where it is: as it is written, in the bytes of its file.
//!
//! Most of what the mirror remembers is only compared with what is on disk, and nearly all of it is the same. To make an entry of
//! each, and a table of these, takes longer than to compare. So a list is looked through once: that checks it and notes where the content of each
//! directory begins and ends, and which number its first entry has. From then on the content of any directory is listed without what is
//! before it. A list that is not a tree in order, as only somebody else can have written it, has no such outline.
//!
//! In memory that takes the file, and for each directory its path and 28 bytes.

use crate::error::StoreError;
use crate::manifest::{Entry, NodeRef};
use crate::path::{MAX_DEPTH, MAX_PATH, TreePath, check_name};
use crate::stat::FileStat;
use crate::store::codec::{Raw, Reader};

/// Bytes of paths of directories at most: a file that somebody else wrote may have few bytes for a long one.
const MAX_PATHS: usize = 256 << 20;

/// A tree that is in the bytes of a file.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    outline: Outline,
}

/// Where what is in a list.
#[derive(Debug)]
pub(crate) struct Outline {
    dirs: Vec<Span>,
    /// The paths of the directories, one after the other.
    paths: Vec<u8>,
    entries: usize,
    files: u64,
    content: u64,
}

/// A directory: where its content is in the file, and which numbers that has.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Of the first entry in it, and after the last below it, in bytes of the file.
    begin: u32,
    end: u32,
    /// The number of the first entry in it, and the one after the last below it.
    first: u32,
    after: u32,
    /// The directory after all that are below it.
    next: u32,
    /// Its path, among the paths.
    path: u32,
    len: u32,
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Child<'a> {
    /// Its number in the list.
    pub(crate) at: usize,
    pub(crate) node: NodeRef<'a>,
    pub(crate) stat: Option<FileStat>,
    /// Of a directory, its number among the directories.
    pub(crate) dir: Option<usize>,
}

impl Packed {
    /// A list whose outline was made of these bytes.
    pub(crate) fn new(bytes: Vec<u8>, outline: Outline) -> Self {
        Self { bytes, outline }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.outline.entries
    }

    /// Files and links among them.
    pub(crate) fn files(&self) -> u64 {
        self.outline.files
    }

    /// Bytes of the files.
    pub(crate) fn content(&self) -> u64 {
        self.outline.content
    }

    /// How many directories there are, of which the root is the first, and each is before what is in it.
    pub(crate) fn dirs(&self) -> usize {
        self.outline.dirs.len()
    }

    /// The path of a directory; empty for the root.
    pub(crate) fn path(&self, dir: usize) -> &[u8] {
        let span = &self.outline.dirs[dir];
        &self.outline.paths[span.path as usize..][..span.len as usize]
    }

    /// The number of the entry that a directory is, which the root is not.
    pub(crate) fn number(&self, dir: usize) -> Option<usize> {
        (self.outline.dirs[dir].first as usize).checked_sub(1)
    }

    /// What is directly in a directory, in order.
    pub(crate) fn children(&self, dir: usize) -> Children<'_> {
        let span = &self.outline.dirs[dir];
        let path = self.path(dir).to_vec();
        Children {
            packed: self,
            at: span.begin as usize,
            end: span.end as usize,
            number: span.first as usize,
            dir: dir + 1,
            name: path.len() + usize::from(dir > 0),
            path,
        }
    }

    /// All of it.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let begin = self.outline.dirs[0].begin as usize;
        let mut reader = Reader::again(&self.bytes, begin);
        let entries = reader.list(self.len(), |path| Some(TreePath::checked(path)));
        entries.expect("what has an outline can be read")
    }
}

fn take(path: &mut Vec<u8>, raw: &Raw<'_>) {
    path.truncate(raw.shared);
    path.extend_from_slice(raw.own);
}

fn entry(path: &[u8], node: NodeRef<'_>, stat: Option<FileStat>) -> Option<Entry> {
    let path = TreePath::new(path).ok()?;
    Some(Entry {
        path,
        node: node.owned(),
        stat,
    })
}

/// What is in a directory. The path is that of the entry that was asked for last.
#[derive(Debug)]
pub(crate) struct Children<'a> {
    packed: &'a Packed,
    at: usize,
    end: usize,
    /// Of the entry that comes next, and of the directory that does.
    number: usize,
    dir: usize,
    path: Vec<u8>,
    /// Where the name begins in the path.
    name: usize,
}

impl<'a> Children<'a> {
    /// The next one.
    pub(crate) fn next(&mut self) -> Option<Child<'a>> {
        if self.at >= self.end {
            return None;
        }
        let mut reader = Reader::again(&self.packed.bytes, self.at);
        let raw = reader.raw().ok()?;
        take(&mut self.path, &raw);
        let number = self.number;
        let dir = matches!(raw.node, NodeRef::Dir).then_some(self.dir);
        match dir.map(|dir| &self.packed.outline.dirs[dir]) {
            Some(span) => {
                self.at = span.end as usize;
                self.number = span.after as usize;
                self.dir = span.next as usize;
            }
            None => {
                self.at = reader.position();
                self.number += 1;
            }
        }
        Some(Child {
            at: number,
            node: raw.node,
            stat: raw.stat,
            dir,
        })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Its name.
    pub(crate) fn name(&self) -> &[u8] {
        &self.path[self.name..]
    }

    /// It as an entry of its own.
    pub(crate) fn entry(&self, child: &Child<'_>) -> Option<Entry> {
        entry(&self.path, child.node, child.stat)
    }
}

/// Looks through the list that `reader` comes to; `None` if it is no tree in order.
///
/// # Errors
/// If it is damaged.
pub(crate) fn outline(reader: &mut Reader<'_>) -> Result<Option<Outline>, StoreError> {
    let entries = reader.count()?;
    let mut draft = Draft::new(reader.position());
    let mut is_tree = true;
    for number in 0..entries {
        let begin = reader.position();
        let raw = reader.raw()?;
        is_tree = is_tree && draft.add(number, &raw, (begin, reader.position()));
    }
    let end = reader.position();
    is_tree = is_tree && u32::try_from(end).is_ok();
    while is_tree && !draft.open.is_empty() {
        draft.close(entries, end);
    }
    Ok(is_tree.then_some(Outline {
        entries,
        ..draft.outline
    }))
}

struct Draft {
    outline: Outline,
    /// The path of the entry before, and the directories that it is in, or is.
    path: Vec<u8>,
    open: Vec<usize>,
}

impl Draft {
    fn new(begin: usize) -> Self {
        let root = Span {
            begin: short(begin),
            end: 0,
            first: 0,
            after: 0,
            next: 0,
            path: 0,
            len: 0,
        };
        Self {
            outline: Outline {
                dirs: vec![root],
                paths: Vec::new(),
                entries: 0,
                files: 0,
                content: 0,
            },
            path: Vec::new(),
            open: vec![0],
        }
    }

    /// Takes the next entry; whether that is where a tree may have it.
    fn add(&mut self, number: usize, raw: &Raw<'_>, (begin, end): (usize, usize)) -> bool {
        if !self.follows(raw) {
            return false;
        }
        let mut parent = 0;
        while let Some(&dir) = self.open.last().filter(|dir| **dir > 0) {
            parent = self.outline.dirs[dir].len as usize;
            if raw.shared > parent || raw.shared == parent && raw.own.starts_with(b"/") {
                parent += 1;
                break;
            }
            parent = 0;
            self.close(number, begin);
        }
        take(&mut self.path, raw);
        let name = &self.path[parent..];
        if check_name(name).is_err() || self.path.len() > MAX_PATH || self.open.len() > MAX_DEPTH {
            return false;
        }
        let outline = &mut self.outline;
        if let NodeRef::Dir = raw.node {
            self.open.push(outline.dirs.len());
            outline.dirs.push(Span {
                begin: short(end),
                end: 0,
                first: short(number + 1),
                after: 0,
                next: 0,
                path: short(outline.paths.len()),
                len: short(self.path.len()),
            });
            outline.paths.extend_from_slice(&self.path);
            if outline.paths.len() > MAX_PATHS {
                return false;
            }
        } else {
            outline.files += 1;
        }
        if let NodeRef::File { size, .. } = raw.node {
            outline.content = outline.content.saturating_add(size);
        }
        true
    }

    /// Whether its path comes after the one before, and shares all with it that is the same.
    fn follows(&self, raw: &Raw<'_>) -> bool {
        let was = self.path.get(raw.shared);
        match (was, raw.own.first()) {
            (_, None) => false,
            (None, Some(_)) => raw.shared == self.path.len(),
            (Some(b'/'), Some(now)) => *now != b'/',
            (Some(_), Some(b'/')) => false,
            (Some(was), Some(now)) => was < now,
        }
    }

    /// The innermost directory ends before that entry.
    fn close(&mut self, number: usize, end: usize) {
        let next = short(self.outline.dirs.len());
        if let Some(dir) = self.open.pop() {
            let span = &mut self.outline.dirs[dir];
            (span.end, span.after, span.next) = (short(end), short(number), next);
        }
    }
}

/// Files of the mirror are below 4 GiB, by far.
fn short(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::{Packed, outline};
    use crate::digest::Digest;
    use crate::manifest::{self, Entry, check};
    use crate::message::Node;
    use crate::path::TreePath;
    use crate::stat::FileStat;
    use crate::store::codec::{Format, Reader, Writer};

    const FORMAT: Format = Format {
        magic: *b"lwtest\0\0",
        version: 1,
    };

    fn packed(entries: &[Entry]) -> Option<Packed> {
        let mut writer = Writer::new(FORMAT, 0);
        writer.u64(7);
        writer.entries(entries);
        writer.u64(8);
        let bytes = writer.finish();
        let mut reader = Reader::new(FORMAT, &bytes, Path::new("f")).unwrap();
        assert_eq!(reader.u64().unwrap(), 7);
        let outline = outline(&mut reader).unwrap();
        assert_eq!((reader.u64().unwrap(), reader.is_at_end()), (8, true));
        outline.map(|outline| Packed::new(bytes, outline))
    }

    fn entry(path: &str, kind: u8) -> Entry {
        let size = u64::from(kind) * 3;
        let node = match kind % 3 {
            0 => Node::Dir,
            1 => Node::Symlink {
                target: vec![b'x'; kind.into()],
            },
            _ => Node::File {
                exec: kind.is_multiple_of(2),
                size,
                hash: Digest([kind; 32]),
            },
        };
        let stat = FileStat {
            dev: 1,
            ino: kind.into(),
            size,
            mtime_ns: -1,
            ctime_ns: 1,
            mode: 7,
        };
        Entry {
            path: TreePath::new(path.as_bytes()).unwrap(),
            stat: matches!(node, Node::File { .. }).then_some(stat),
            node,
        }
    }

    /// Every directory's content, as the entries have it.
    fn listed(list: &Packed) -> Vec<(usize, Entry)> {
        let mut found = Vec::new();
        for dir in 0..list.dirs() {
            let mut children = list.children(dir);
            while let Some(child) = children.next() {
                let entry = children.entry(&child).unwrap();
                assert_eq!(entry.path.split(), (list.path(dir), children.name()));
                if let Some(dir) = child.dir {
                    assert_eq!(list.path(dir), entry.path.as_bytes());
                    assert_eq!(list.number(dir), Some(child.at));
                }
                found.push((child.at, entry));
            }
        }
        found.sort_by_key(|(at, _)| *at);
        found
    }

    fn agrees(entries: &[Entry]) {
        let is_tree = check(manifest::pairs(entries)).is_ok();
        let list = packed(entries);
        assert_eq!(list.is_some(), is_tree, "{entries:?}");
        let Some(list) = list else { return };
        assert_eq!(list.entries(), entries);
        let numbered: Vec<_> = entries.iter().cloned().enumerate().collect();
        assert_eq!(listed(&list), numbered);
        assert_eq!(list.len(), entries.len());
        assert_eq!(list.files(), manifest::count_files(entries));
        assert_eq!(list.content(), manifest::bytes(entries));
    }

    #[test]
    fn directories_are_listed_without_what_is_before() {
        agrees(&[]);
        let names = [
            "a", "a/b", "a/b/c", "a/b/c/f2", "a/b-", "a/b.c", "a-", "a.d", "a.d/x", "b",
        ];
        let kinds = [3, 3, 3, 2, 1, 2, 2, 3, 8, 3];
        let tree: Vec<Entry> = names
            .iter()
            .zip(kinds)
            .map(|(name, kind)| entry(name, kind))
            .collect();
        agrees(&tree);
        for gone in 0..tree.len() {
            let mut other = tree.clone();
            other.remove(gone);
            agrees(&other);
            other = tree.clone();
            other.swap(gone, (gone + 1) % tree.len());
            agrees(&other);
            other = tree.clone();
            other[gone] = entry(names[gone], 5);
            agrees(&other);
            other = tree.clone();
            other.insert(gone, tree[gone].clone());
            agrees(&other);
        }
    }

    proptest! {
        #[test]
        fn any_list_is_the_tree_that_it_is_or_none(
            paths in prop::collection::btree_map("[ab.]{1,2}(/[ab.-]{1,2}){0,3}", any::<u8>(), 0..20), sorted: bool
        ) {
            let named = paths.iter().filter(|(path, _)| TreePath::new(path.as_bytes()).is_ok());
            let mut entries: Vec<Entry> = named.map(|(path, kind)| entry(path, *kind)).collect();
            // What a list without its directories' entries, or in the order of bytes, is taken for.
            if sorted {
                let above: Vec<Entry> = entries.iter().flat_map(|entry| {
                    let path = entry.path.as_bytes();
                    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
                    ends.map(|(end, _)| super::tests::entry(&String::from_utf8_lossy(&path[..end]), 0)).collect::<Vec<_>>()
                }).collect();
                entries.retain(|entry| !above.iter().any(|above| above.path == entry.path));
                entries.extend(above);
                entries.sort_by(|a, b| a.path.cmp(&b.path));
                entries.dedup_by(|a, b| a.path == b.path);
                prop_assert!(check(manifest::pairs(&entries)).is_ok());
            }
            agrees(&entries);
        }

        #[test]
        fn any_bytes_are_read_or_refused(count in 0_u64..5, body in prop::collection::vec(0_u8..4, 0..60)) {
            let mut writer = Writer::new(FORMAT, 0);
            writer.u64(count);
            writer.any(&body);
            let bytes = writer.finish();
            let mut reader = Reader::new(FORMAT, &bytes, Path::new("f")).unwrap();
            if let Ok(Some(outline)) = outline(&mut reader) {
                let list = Packed::new(bytes.clone(), outline);
                prop_assert_eq!(listed(&list).len(), list.len());
                prop_assert_eq!(list.entries().len(), list.len());
            }
        }
    }
}
