//! Whole pages: had from the kernel, kept while they are likely to be wanted again, and emptied on request.
//!
//! Nobody's pages are known as *runs* in the order of their addresses. What is wanted is cut off the first run that is
//! long enough; what comes back is joined to its neighbours. So the memory that a busy shim uses again and again is touched
//! for the first time only once, which is what costs on a virtual machine, and a shim that goes to sleep keeps
//! the content of none. It keeps the places of some, though: the end of a job must not wait for memory that the kernel will not give.
#![expect(unsafe_code, reason = "raw memory is what this is about")]

use core::ptr;

use legwork_shim::sys::call;

use crate::shim::best_effort;

/// Bytes of a page, which is where it begins too: at a multiple.
pub(super) const PAGE: usize = 4096;
/// Bytes asked of the kernel at least. Nothing is used of it that has not been touched.
const CHUNK: usize = 16 * PAGE;
/// Bytes whose places stay through a release, or a run more: what the end of a job takes.
const KEPT: usize = CHUNK;
/// Runs that can be remembered. One too many goes back to the kernel.
const RUNS: usize = 16;

/// Pages that nobody uses, one after another.
#[derive(Debug, Clone, Copy)]
struct Run {
    at: usize,
    length: usize,
}

impl Run {
    fn end(&self) -> usize {
        self.at + self.length
    }
}

/// The pages that nobody uses. All lengths are whole pages, in bytes.
#[derive(Debug)]
pub(super) struct Pages {
    /// In the order of their addresses, and no two of them meet.
    runs: [Run; RUNS],
    count: usize,
    /// Bytes that the kernel has given.
    #[cfg(test)]
    mapped: usize,
}

impl Pages {
    /// Nothing had from the kernel yet.
    pub(super) const fn new() -> Self {
        Self {
            runs: [Run { at: 0, length: 0 }; RUNS],
            count: 0,
            #[cfg(test)]
            mapped: 0,
        }
    }

    /// Takes pages of any content, or null if there are none.
    pub(super) fn take(&mut self, length: usize) -> *mut u8 {
        let found = self.runs().iter().position(|run| run.length >= length);
        let at = match found {
            Some(number) => self.cut(number, length),
            None => {
                let mapped = length.max(CHUNK);
                let Some(at) = self.map(mapped) else {
                    return ptr::null_mut();
                };
                self.insert(at + length, mapped - length);
                at
            }
        };
        ptr::with_exposed_provenance_mut(at)
    }

    /// Takes pages back.
    ///
    /// # Safety
    /// They were taken from here, and nobody uses them any more.
    pub(super) unsafe fn give(&mut self, at: *mut u8, length: usize) {
        self.insert(at.expose_provenance(), length);
    }

    /// Takes the pages that follow after `length` bytes at `at` too. False if they are not there to be had.
    pub(super) fn extend(&mut self, at: *mut u8, length: usize, new_length: usize) -> bool {
        let (next, more) = (at.addr() + length, new_length - length);
        let mut runs = self.runs().iter();
        let found = runs.position(|run| run.at == next && run.length >= more);
        if let Some(number) = found {
            self.cut(number, more);
        }
        found.is_some()
    }

    /// Gives the memory of all of them back to the kernel, and the pages beyond [`KEPT`].
    pub(super) fn release(&mut self) {
        let mut kept = 0;
        let mut number = 0;
        while number < self.count {
            let run = self.runs[number];
            if kept < KEPT {
                empty(run);
                kept += run.length;
                number += 1;
            } else {
                self.remove(number);
                self.unmap(run);
            }
        }
    }

    fn runs(&self) -> &[Run] {
        &self.runs[..self.count]
    }

    /// Cuts so many bytes off the beginning of a run that is long enough.
    fn cut(&mut self, number: usize, length: usize) -> usize {
        let run = &mut self.runs[number];
        let at = run.at;
        run.at += length;
        run.length -= length;
        if run.length == 0 {
            self.remove(number);
        }
        at
    }

    fn remove(&mut self, number: usize) {
        self.runs.copy_within(number + 1..self.count, number);
        self.count -= 1;
    }

    fn insert(&mut self, at: usize, length: usize) {
        if length == 0 {
            return;
        }
        let new = Run { at, length };
        let number = self.runs().partition_point(|run| run.at < at);
        let meets_last = number > 0 && self.runs[number - 1].end() == at;
        let meets_next = number < self.count && new.end() == self.runs[number].at;
        match (meets_last, meets_next) {
            (true, true) => {
                self.runs[number - 1].length += length + self.runs[number].length;
                self.remove(number);
            }
            (true, false) => self.runs[number - 1].length += length,
            (false, true) => {
                self.runs[number].at = at;
                self.runs[number].length += length;
            }
            (false, false) if self.count == RUNS => self.unmap(new),
            (false, false) => {
                self.runs.copy_within(number..self.count, number + 1);
                self.runs[number] = new;
                self.count += 1;
            }
        }
    }

    /// Whether nobody uses any.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.length() == self.mapped
    }

    /// How many bytes there are.
    #[cfg(test)]
    pub(super) fn length(&self) -> usize {
        self.runs().iter().map(|run| run.length).sum()
    }
}

impl Pages {
    /// New memory of the kernel's.
    fn map(&mut self, length: usize) -> Option<usize> {
        let access = (libc::PROT_READ | libc::PROT_WRITE).cast_unsigned() as usize;
        let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned() as usize;
        let no_file = usize::MAX;
        // SAFETY: the kernel chooses a place where nothing is.
        let at = unsafe { call(libc::SYS_mmap, [0, length, access, kind, no_file, 0]) }.ok()?;
        #[cfg(test)]
        {
            self.mapped += length;
        }
        Some(at)
    }

    /// Gives up pages that nobody uses. If the kernel cannot take them (it would have to split one mapping too many), they
    /// are lost.
    fn unmap(&mut self, run: Run) {
        let arguments = [run.at, run.length, 0, 0, 0, 0];
        // SAFETY: runs are of pages that came from the kernel and that nobody uses, and nobody will: this one is forgotten.
        best_effort(unsafe { call(libc::SYS_munmap, arguments) });
        #[cfg(test)]
        {
            self.mapped -= run.length;
        }
    }
}

/// Forgets what is in pages that nobody uses, so that no memory stands behind them until they are touched again.
fn empty(run: Run) {
    let advice = libc::MADV_DONTNEED.cast_unsigned() as usize;
    let arguments = [run.at, run.length, advice, 0, 0, 0];
    // SAFETY: runs are of pages that came from the kernel and whose content nobody wants.
    best_effort(unsafe { call(libc::SYS_madvise, arguments) });
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, PAGE, Pages, RUNS};

    #[test]
    fn pages_come_back_as_one_run_in_whatever_order() {
        let mut pages = Pages::new();
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let taken = [PAGE, 3 * PAGE, 2 * PAGE].map(|length| (pages.take(length), length));
            assert_eq!(pages.length(), CHUNK - 6 * PAGE);
            for number in order {
                let (at, length) = taken[number];
                // SAFETY: it has just been taken.
                unsafe { pages.give(at, length) };
            }
            assert_eq!((pages.count, pages.length()), (1, CHUNK));
        }
        pages.release();
        assert!(pages.is_unused());
        assert_eq!(pages.length(), CHUNK);
    }

    #[test]
    fn what_follows_can_be_had_while_it_is_free() {
        let mut pages = Pages::new();
        let first = pages.take(PAGE);
        assert!(pages.extend(first, PAGE, 3 * PAGE));
        assert_eq!(pages.take(PAGE), first.wrapping_add(3 * PAGE));
        assert!(!pages.extend(first, 3 * PAGE, 4 * PAGE));
    }

    #[test]
    fn what_is_kept_is_empty_and_enough_for_an_end() {
        let mut pages = Pages::new();
        let (first, second) = (pages.take(3 * CHUNK), pages.take(2 * CHUNK));
        // SAFETY: it has just been taken, and is as long as that.
        unsafe { first.write_bytes(7, 3 * CHUNK) };
        for (at, length) in [(first, 3 * CHUNK), (second, 2 * CHUNK)] {
            // SAFETY: it was taken above, and nobody uses it.
            unsafe { pages.give(at, length) };
        }
        pages.release();
        assert!(pages.is_unused() && pages.length() >= CHUNK);
        let mapped = pages.mapped;
        let again = pages.take(CHUNK);
        assert_eq!(pages.mapped, mapped, "nothing new is asked of the kernel");
        // SAFETY: it has just been taken, and the kernel gives zeros.
        assert_eq!(unsafe { again.read() }, 0);
    }

    #[test]
    fn more_runs_than_can_be_remembered_go_back() {
        let mut pages = Pages::new();
        let all: Vec<_> = (0..4 * RUNS).map(|_| pages.take(PAGE)).collect();
        let rest = pages.length();
        for at in all.iter().step_by(2) {
            // SAFETY: it was taken above.
            unsafe { pages.give(*at, PAGE) };
        }
        assert_eq!(pages.count, RUNS);
        assert!(pages.length() <= rest + RUNS * PAGE);
    }
}
