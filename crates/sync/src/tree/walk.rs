//! A parallel walk over directories, each held open while its content is looked at.
//!
//! Directories are tasks on one stack (last in, first out, so that few are open at once). A
//! worker lists a directory, hands the listing to the visitor, and pushes the subdirectories that
//! the visitor wants to see. Nothing is sorted here but the names of one directory.

use std::mem::MaybeUninit;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::io::Errno;

use crate::tree::{Dir, Name, Use};

/// Bytes of directory listing per system call.
const LISTING: usize = 32 << 10;

/// What a walk does in each directory. Each worker has its own.
pub(crate) trait Visitor {
    /// What a directory hands down to its subdirectories.
    type Down: Send;

    /// A directory was opened, and is listed next: what is watched from here on misses nothing of it.
    fn opened(&mut self, dir: &Dir, path: &[u8]) {
        let _unused = (dir, path);
    }

    /// A directory: its handle, path (empty for the root) and sorted names. Returns the
    /// subdirectories to visit, as indices into `names`, and what each is handed down.
    fn visit(
        &mut self,
        dir: &Dir,
        path: &[u8],
        names: &[Name],
        down: Self::Down,
    ) -> Vec<(usize, Self::Down)>;

    /// A directory that could not be opened or listed completely.
    fn unreadable(&mut self, path: &[u8], error: Errno);

    /// Whether to leave all that has not been visited yet.
    fn stop(&self) -> bool;
}

struct Task<D> {
    parent: Arc<Dir>,
    path: Vec<u8>,
    name: usize,
    down: D,
}

struct Tasks<D> {
    stack: Vec<Task<D>>,
    busy: usize,
}

/// The shared stack of a walk.
pub(crate) struct Walk<D> {
    tasks: Mutex<Tasks<D>>,
    changed: Condvar,
}

impl<D: Send> Walk<D> {
    /// A walk that begins at `root`.
    pub(crate) fn new(root: Dir, down: D) -> Self {
        Self::at(root, &[], down)
    }

    /// A walk that begins at the directory `path`, of which `parent` is the parent; of the empty path it is the
    /// directory itself.
    pub(crate) fn at(parent: Dir, path: &[u8], down: D) -> Self {
        let first = Task {
            parent: Arc::new(parent),
            path: path.to_vec(),
            name: path
                .iter()
                .rposition(|&byte| byte == b'/')
                .map_or(0, |at| at + 1),
            down,
        };
        let tasks = Tasks {
            stack: vec![first],
            busy: 0,
        };
        Self {
            tasks: Mutex::new(tasks),
            changed: Condvar::new(),
        }
    }

    /// Works until no directory is left anywhere; to be called by each worker.
    pub(crate) fn work<V: Visitor<Down = D>>(&self, visitor: &mut V) {
        let mut buffer = vec![MaybeUninit::uninit(); LISTING];
        while let Some(task) = self.next() {
            let found = if visitor.stop() {
                Vec::new()
            } else {
                visit(visitor, task, &mut buffer)
            };
            self.done(found);
        }
    }

    fn next(&self) -> Option<Task<D>> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(task) = tasks.stack.pop() {
                tasks.busy += 1;
                return Some(task);
            }
            if tasks.busy == 0 {
                return None;
            }
            tasks = self
                .changed
                .wait(tasks)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, found: Vec<Task<D>>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let many = found.len() > 1;
        tasks.stack.extend(found);
        tasks.busy -= 1;
        let finished = tasks.busy == 0 && tasks.stack.is_empty();
        drop(tasks);
        if many || finished {
            self.changed.notify_all();
        }
    }
}

fn visit<V: Visitor>(
    visitor: &mut V,
    task: Task<V::Down>,
    buffer: &mut [MaybeUninit<u8>],
) -> Vec<Task<V::Down>> {
    let Task {
        parent,
        path,
        name,
        down,
    } = task;
    let opened = if path.is_empty() {
        parent.child(b".", Use::List)
    } else {
        parent.child(&path[name..], Use::List)
    };
    drop(parent);
    let listed = opened.and_then(|dir| {
        visitor.opened(&dir, &path);
        Ok((dir.names(buffer)?, dir))
    });
    let (mut names, dir) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            visitor.unreadable(&path, error);
            return Vec::new();
        }
    };
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let wanted = visitor.visit(&dir, &path, &names, down);
    if wanted.is_empty() {
        return Vec::new();
    }
    let dir = Arc::new(dir);
    let task = |(index, down): (usize, V::Down)| {
        let mut below = Vec::with_capacity(path.len() + 1 + names[index].name.len());
        below.extend_from_slice(&path);
        if !path.is_empty() {
            below.push(b'/');
        }
        let name = below.len();
        below.extend_from_slice(&names[index].name);
        Task {
            parent: Arc::clone(&dir),
            path: below,
            name,
            down,
        }
    };
    wanted.into_iter().rev().map(task).collect()
}
