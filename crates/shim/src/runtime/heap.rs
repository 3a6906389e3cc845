//! A heap for a program that mostly sleeps: small, and with nothing in it that is not in use.
//!
//! A [`Page`] holds blocks of one size, and knows which of them are free and how many are not, so that one whose last
//! block is freed is a free page. What is larger than half a page has pages of its own. Free pages are kept for whatever
//! wants some next, until [`Heap::release`] gives their memory back to the kernel. There is no lock: the program has one thread.
#![expect(unsafe_code, reason = "raw memory is what this is about")]

use core::alloc::Layout;
use core::ptr;

use super::pages::{PAGE, Pages};

/// The sizes of blocks: multiples of [`ALIGN`], and little is left over in a page.
const SIZES: [usize; 8] = [16, 32, 64, 128, 256, 496, 1008, 2016];
/// Every block begins at a multiple of this.
const ALIGN: usize = 16;

/// What a page begins with. Blocks come after it.
struct Page {
    /// The pages around it, among those of its size that have a free block.
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
    pages: Pages,
}

/// Which size of block something needs; `None` if it needs pages of its own.
fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > ALIGN {
        return None;
    }
    SIZES.iter().position(|size| layout.size() <= *size)
}

/// Bytes of whole pages. (A `Layout` is too small to overflow this.)
fn whole_pages(size: usize) -> usize {
    size.next_multiple_of(PAGE)
}

impl Heap {
    /// Nothing had from the kernel yet.
    pub(super) const fn new() -> Self {
        Self {
            open: [ptr::null_mut(); SIZES.len()],
            pages: Pages::new(),
        }
    }

    /// Memory of this layout, or null if there is none.
    pub(super) fn allocate(&mut self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some(class) => self.block(class),
            None if layout.align() > PAGE => ptr::null_mut(),
            None => self.pages.take(whole_pages(layout.size())),
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
            // SAFETY: as the caller promises; pages of this length are what it was given for this layout.
            None => unsafe { self.pages.give(block, whole_pages(layout.size())) },
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
        let stays = match (class_of(layout), class_of(new_layout)) {
            (Some(old), Some(new)) => old == new,
            (None, None) => self.fits(block, layout.size(), new_size),
            _ => false,
        };
        if stays {
            return block;
        }
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

    /// Whether pages can be made so long, or so short, where they are.
    fn fits(&mut self, block: *mut u8, size: usize, new_size: usize) -> bool {
        let (length, new_length) = (whole_pages(size), whole_pages(new_size));
        if new_length > length {
            return self.pages.extend(block, length, new_length);
        }
        let rest = block.wrapping_add(new_length);
        // SAFETY: what is beyond the new size belongs to the block and is not used any more.
        unsafe { self.pages.give(rest, length - new_length) };
        true
    }

    /// Gives the memory of free pages back to the kernel.
    pub(super) fn release(&mut self) {
        self.pages.release();
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
            // SAFETY: it was taken from there, and nobody uses a block of it.
            unsafe { self.pages.give(at.cast(), PAGE) };
        } else if was_full {
            self.link(at, class);
        }
    }

    /// A page without blocks, or null.
    fn page(&mut self) -> *mut Page {
        let page = self.pages.take(PAGE).cast::<Page>();
        if page.is_null() {
            return page;
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

#[cfg(test)]
mod tests {
    use std::alloc::Layout;
    use std::collections::BTreeSet;

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

    fn is_unused(heap: &Heap) -> bool {
        heap.pages.is_unused() && heap.open.iter().all(|page| page.is_null())
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
            prop_assert!(is_unused(&heap));
        }
    }

    #[test]
    fn a_page_is_used_again_before_another_is() {
        let mut heap = Heap::new();
        let mut seen = BTreeSet::new();
        for size in SIZES {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let blocks: Vec<_> = (0..(PAGE - BLOCKS) / size)
                .map(|_| heap.allocate(layout))
                .collect();
            seen.extend(blocks.iter().map(|block| block.addr() / PAGE));
            for block in blocks {
                // SAFETY: it came from this heap with this layout.
                unsafe { heap.free(block, layout) };
            }
        }
        assert_eq!(seen.len(), 1);
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
        heap.release();
        assert!(is_unused(&heap));
    }
}
