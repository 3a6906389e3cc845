//! A heap for a program that mostly sleeps: small, and with nothing in it that is not in use.
//!
//! Memory comes from the kernel in pages. A *page* holds blocks of one size, and knows which of them are free and how
//! many are not, so that one whose last block is freed is a free page: kept for the next that is wanted, and given
//! back to the kernel by [`Heap::release`]. What is larger than half a page is a mapping of its own and goes back at once.
//! There is no lock: the program has one thread.
#![expect(unsafe_code, reason = "raw memory is what this is about")]

use core::alloc::Layout;
use core::ptr;

use legwork_shim::sys::call;

use crate::shim::best_effort;

/// Bytes of a page, which is where it begins too: at a multiple.
const PAGE: usize = 4096;
/// Bytes asked of the kernel at a time for pages of blocks. Nothing is used of it that has not been touched.
const CHUNK: usize = 16 * PAGE;
/// The sizes of blocks: multiples of [`ALIGN`], and little is left over in a page.
const SIZES: [usize; 8] = [16, 32, 64, 128, 256, 496, 1008, 2016];
/// Every block begins at a multiple of this.
const ALIGN: usize = 16;

/// What a page begins with. Blocks come after it.
struct Page {
    /// The pages around it, among those of its size that have a free block, or after it among the free pages.
    next: *mut Self,
    prev: *mut Self,
    /// The first of the blocks that were freed; each begins with the next one's place.
    freed: *mut u8,
    /// Where the blocks begin that were never handed out.
    fresh: usize,
    /// Blocks in use.
    used: usize,
}

/// Where the blocks of a page begin.
const BLOCKS: usize = size_of::<Page>().next_multiple_of(ALIGN);
const _: () = assert!(BLOCKS + 2 * SIZES[SIZES.len() - 1] <= PAGE);

impl Page {
    /// Whether no block of this size is left.
    fn is_full(&self, size: usize) -> bool {
        self.freed.is_null() && self.fresh + size > PAGE
    }
}

/// The memory of the program.
#[derive(Debug)]
pub(super) struct Heap {
    /// For each size the pages that have a free block.
    open: [*mut Page; SIZES.len()],
    /// Free pages.
    spare: *mut Page,
    /// What has been had from the kernel and never been used.
    chunk: *mut u8,
    chunk_left: usize,
}

/// Which size of block something needs; `None` if it needs pages of its own.
fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > ALIGN {
        return None;
    }
    SIZES.iter().position(|size| layout.size() <= *size)
}

/// Bytes of whole pages. (A `Layout` is too small to overflow this.)
fn pages(size: usize) -> usize {
    size.next_multiple_of(PAGE)
}

impl Heap {
    /// Nothing had from the kernel yet.
    pub(super) const fn new() -> Self {
        Self {
            open: [ptr::null_mut(); SIZES.len()],
            spare: ptr::null_mut(),
            chunk: ptr::null_mut(),
            chunk_left: 0,
        }
    }

    /// Memory of this layout, or null if there is none.
    pub(super) fn allocate(&mut self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(class) => self.block(class),
            None if layout.align() > PAGE => ptr::null_mut(),
            None => map(pages(layout.size())),
        }
    }

    /// Takes memory back.
    ///
    /// # Safety
    /// It came from this heap for this layout, and nobody uses it any more.
    pub(super) unsafe fn free(&mut self, block: *mut u8, layout: Layout) {
        match class_of(layout) {
            // SAFETY: as the caller promises; a block of this size is what it was given for this layout.
            Some(class) => unsafe { self.free_block(block, class) },
            // SAFETY: as the caller promises; a mapping of this length is what it was given for this layout.
            None => unsafe { unmap(block, pages(layout.size())) },
        }
    }

    /// The same content in another size, perhaps elsewhere; null, and nothing has changed, if there is no memory.
    ///
    /// # Safety
    /// As for [`Self::free`], and the new size with the old alignment is a layout.
    pub(super) unsafe fn resize(
        &mut self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        // SAFETY: the caller promises that it is one.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (class_of(layout), class_of(new_layout)) {
            (Some(old), Some(new)) if old == new => block,
            (None, None) => {
                // SAFETY: a mapping of the old length is what it was given for the old layout.
                unsafe { remap(block, pages(layout.size()), pages(new_size)) }
            }
            _ => {
                let new = self.allocate(new_layout);
                if !new.is_null() {
                    let both = layout.size().min(new_size);
                    // SAFETY: both are as large as this, and they are two.
                    unsafe { ptr::copy_nonoverlapping(block, new, both) };
                    // SAFETY: as the caller promises; the content has been saved.
                    unsafe { self.free(block, layout) };
                }
                new
            }
        }
    }

    /// Gives free pages back to the kernel.
    pub(super) fn release(&mut self) {
        while !self.spare.is_null() {
            let page = self.spare;
            // SAFETY: pages in this list are ours, and nobody has a reference into one.
            self.spare = unsafe { &*page }.next;
            // SAFETY: no block of a free page is in use, and it has just left the list.
            unsafe { unmap(page.cast(), PAGE) };
        }
    }

    fn block(&mut self, class: usize) -> *mut u8 {
        let size = SIZES[class];
        if self.open[class].is_null() {
            let page = self.page();
            if page.is_null() {
                return ptr::null_mut();
            }
            self.link(page, class);
        }
        let at = self.open[class];
        // SAFETY: pages in this list are ours, and this is the only reference into its beginning.
        let page = unsafe { &mut *at };
        let block = if page.freed.is_null() {
            let block = at.cast::<u8>().wrapping_add(page.fresh);
            page.fresh += size;
            block
        } else {
            let block = page.freed;
            // SAFETY: a freed block begins with the place of the next, and is aligned for it.
            page.freed = unsafe { block.cast::<*mut u8>().read() };
            block
        };
        page.used += 1;
        if page.is_full(size) {
            self.unlink(at, class);
        }
        block
    }

    /// # Safety
    /// The block came from [`Self::block`] for this class, and nobody uses it any more.
    unsafe fn free_block(&mut self, block: *mut u8, class: usize) {
        let at = block.map_addr(|place| place & !(PAGE - 1)).cast::<Page>();
        // SAFETY: a page begins with this, and it is the only reference there.
        let page = unsafe { &mut *at };
        let was_full = page.is_full(SIZES[class]);
        // SAFETY: the block is ours again, aligned for this, and no smaller.
        unsafe { block.cast::<*mut u8>().write(page.freed) };
        page.freed = block;
        page.used -= 1;
        let is_free = page.used == 0;
        if is_free {
            if !was_full {
                self.unlink(at, class);
            }
            self.put_aside(at);
        } else if was_full {
            self.link(at, class);
        }
    }

    /// A page without blocks, or null.
    fn page(&mut self) -> *mut Page {
        let page = if self.spare.is_null() {
            self.new_page()
        } else {
            self.spare
        };
        if page.is_null() {
            return page;
        }
        if page == self.spare {
            // SAFETY: pages in this list are ours, and nobody has a reference into one.
            self.spare = unsafe { &*page }.next;
        }
        let empty = Page {
            next: ptr::null_mut(),
            prev: ptr::null_mut(),
            freed: ptr::null_mut(),
            fresh: BLOCKS,
            used: 0,
        };
        // SAFETY: the page is ours alone, large enough and aligned.
        unsafe { page.write(empty) };
        page
    }

    /// A page that was never used, or null.
    fn new_page(&mut self) -> *mut Page {
        if self.chunk_left == 0 {
            self.chunk = map(CHUNK);
            if self.chunk.is_null() {
                return ptr::null_mut();
            }
            self.chunk_left = CHUNK;
        }
        self.chunk_left -= PAGE;
        let page = self.chunk;
        self.chunk = page.wrapping_add(PAGE);
        page.cast()
    }

    fn put_aside(&mut self, at: *mut Page) {
        // SAFETY: the page is ours, in no list, and this is the only reference into it.
        unsafe { &mut *at }.next = self.spare;
        self.spare = at;
    }

    /// Puts a page in front of those of its class.
    fn link(&mut self, at: *mut Page, class: usize) {
        let next = self.open[class];
        {
            // SAFETY: the page is ours, in no list, and this is the only reference to its beginning.
            let page = unsafe { &mut *at };
            page.next = next;
            page.prev = ptr::null_mut();
        }
        if !next.is_null() {
            // SAFETY: pages in this list are ours, and this is the only reference to its beginning.
            unsafe { &mut *next }.prev = at;
        }
        self.open[class] = at;
    }

    /// Takes a page out of those of its class.
    fn unlink(&mut self, at: *mut Page, class: usize) {
        let (prev, next) = {
            // SAFETY: the page is in the list, so it is ours; the reference ends here.
            let page = unsafe { &*at };
            (page.prev, page.next)
        };
        if prev.is_null() {
            self.open[class] = next;
        } else {
            // SAFETY: its neighbours in the list are ours, and this is the only reference to that one's beginning.
            unsafe { &mut *prev }.next = next;
        }
        if !next.is_null() {
            // SAFETY: as above.
            unsafe { &mut *next }.prev = prev;
        }
    }
}

/// New memory of the kernel's, all zeros, or null.
fn map(length: usize) -> *mut u8 {
    let access = (libc::PROT_READ | libc::PROT_WRITE).cast_unsigned() as usize;
    let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).cast_unsigned() as usize;
    let no_file = usize::MAX;
    // SAFETY: the kernel chooses a place where nothing is.
    let mapped = unsafe { call(libc::SYS_mmap, [0, length, access, kind, no_file, 0]) };
    mapped.map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut)
}

/// # Safety
/// These are whole pages that came from [`map`] or [`remap`], and nobody uses them any more.
unsafe fn unmap(at: *mut u8, length: usize) {
    let arguments = [at.expose_provenance(), length, 0, 0, 0, 0];
    // SAFETY: as the caller promises. If the kernel cannot (a mapping too many), the pages stay without a use.
    best_effort(unsafe { call(libc::SYS_munmap, arguments) });
}

/// # Safety
/// This is a whole mapping that came from here, and nobody uses it by its old place any more unless the result is null.
unsafe fn remap(at: *mut u8, length: usize, new_length: usize) -> *mut u8 {
    if length == new_length {
        return at;
    }
    let may_move = libc::MREMAP_MAYMOVE.cast_unsigned() as usize;
    let arguments = [at.expose_provenance(), length, new_length, may_move, 0, 0];
    // SAFETY: as the caller promises; the kernel chooses a place where nothing is.
    let moved = unsafe { call(libc::SYS_mremap, arguments) };
    moved.map_or(ptr::null_mut(), ptr::with_exposed_provenance_mut)
}

#[cfg(test)]
mod tests {
    use std::alloc::Layout;

    use proptest::prelude::*;

    use super::{BLOCKS, Heap, PAGE, SIZES};

    #[derive(Debug, Clone)]
    enum Deed {
        Allocate { size: usize, align: usize },
        Resize { which: usize, size: usize },
        Free { which: usize },
        Release,
    }

    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![
            6 => 1..200_usize,
            3 => 1..3000_usize,
            1 => 1..20_000_usize,
        ]
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            5 => (size(), 0..13_u32).prop_map(|(size, log)| Deed::Allocate { size, align: 1 << log }),
            9 => size().prop_map(|size| Deed::Allocate { size, align: 8 }),
            4 => (any::<usize>(), size()).prop_map(|(which, size)| Deed::Resize { which, size }),
            9 => any::<usize>().prop_map(|which| Deed::Free { which }),
            1 => Just(Deed::Release),
        ]
    }

    /// A block in use, every byte of which has one value.
    struct Block {
        at: *mut u8,
        layout: Layout,
        value: u8,
    }

    impl Block {
        fn fill(&self) {
            // SAFETY: the heap has given us so many bytes.
            unsafe { self.at.write_bytes(self.value, self.layout.size()) };
        }

        fn is_whole(&self, length: usize) -> bool {
            // SAFETY: the heap has given us so many bytes, and they have been filled.
            let bytes = unsafe { std::slice::from_raw_parts(self.at, length) };
            bytes.iter().all(|byte| *byte == self.value)
        }
    }

    fn is_empty(heap: &Heap) -> bool {
        heap.spare.is_null() && heap.open.iter().all(|page| page.is_null())
    }

    proptest! {
        #[test]
        fn blocks_are_apart_and_keep_what_is_in_them(deeds in prop::collection::vec(deed(), 0..200)) {
            let mut heap = Heap::new();
            let mut blocks: Vec<Block> = Vec::new();
            for (number, deed) in deeds.into_iter().enumerate() {
                let value = number.to_le_bytes()[0];
                match deed {
                    Deed::Allocate { size, align } => {
                        let layout = Layout::from_size_align(size, align).unwrap();
                        let at = heap.allocate(layout);
                        prop_assert!(!at.is_null() && at.addr().is_multiple_of(align));
                        let block = Block { at, layout, value };
                        block.fill();
                        blocks.push(block);
                    }
                    Deed::Resize { which, size } if !blocks.is_empty() => {
                        let which = which % blocks.len();
                        let block = &mut blocks[which];
                        let kept = block.layout.size().min(size);
                        // SAFETY: it came from this heap with this layout.
                        block.at = unsafe { heap.resize(block.at, block.layout, size) };
                        block.layout = Layout::from_size_align(size, block.layout.align()).unwrap();
                        prop_assert!(!block.at.is_null() && block.at.addr().is_multiple_of(block.layout.align()));
                        prop_assert!(block.is_whole(kept));
                        block.fill();
                    }
                    Deed::Free { which } if !blocks.is_empty() => {
                        let block = blocks.swap_remove(which % blocks.len());
                        prop_assert!(block.is_whole(block.layout.size()));
                        // SAFETY: it came from this heap with this layout.
                        unsafe { heap.free(block.at, block.layout) };
                    }
                    Deed::Release => heap.release(),
                    Deed::Resize { .. } | Deed::Free { .. } => {}
                }
            }
            for block in blocks {
                prop_assert!(block.is_whole(block.layout.size()));
                // SAFETY: it came from this heap with this layout.
                unsafe { heap.free(block.at, block.layout) };
            }
            heap.release();
            prop_assert!(is_empty(&heap));
        }
    }

    #[test]
    fn a_page_is_used_again_before_another_is_had() {
        let mut heap = Heap::new();
        for size in SIZES {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let blocks: Vec<_> = (0..(PAGE - BLOCKS) / size)
                .map(|_| heap.allocate(layout))
                .collect();
            let page = blocks[0].addr() / PAGE;
            assert!(blocks.iter().all(|block| block.addr() / PAGE == page));
            for block in blocks {
                // SAFETY: it came from this heap with this layout.
                unsafe { heap.free(block, layout) };
            }
        }
        assert_eq!(heap.chunk_left, super::CHUNK - PAGE);
    }

    #[test]
    fn what_cannot_be_had_is_null_and_changes_nothing() {
        let mut heap = Heap::new();
        let huge = Layout::from_size_align(1 << 60, 8).unwrap();
        assert!(heap.allocate(huge).is_null());
        let odd = Layout::from_size_align(1, 2 * PAGE).unwrap();
        assert!(heap.allocate(odd).is_null());
        let layout = Layout::from_size_align(3 * PAGE, 8).unwrap();
        let block = Block {
            at: heap.allocate(layout),
            layout,
            value: 7,
        };
        block.fill();
        // SAFETY: it came from this heap with this layout.
        assert!(unsafe { heap.resize(block.at, layout, 1 << 60) }.is_null());
        assert!(block.is_whole(layout.size()));
        // SAFETY: as above, and it has not moved.
        unsafe { heap.free(block.at, layout) };
        assert!(is_empty(&heap));
    }
}
