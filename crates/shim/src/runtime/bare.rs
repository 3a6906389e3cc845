//! Begun by the kernel itself, with nothing below.
//!
//! Nothing here, and nothing that is called from here, may rest on what a C library sets up: thread-local
//! storage, constructors, the auxiliary vector. The program is linked for one address, so that it has no relocations
//! to apply either.
#![expect(
    unsafe_code,
    reason = "the entry point, the allocator and the functions that the compiler calls"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

use super::heap::Heap;
use super::memory;
use crate::shim::{best_effort, sys};

/// Where the kernel begins. What it has put on the stack, arguments, environment and auxiliary vector, is left alone.
///
/// # Safety
/// For the kernel only: there is nothing to return to.
// SAFETY: the linker takes the symbol of this name for the program's entry, and nothing else defines it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    // No frame is below this one, and functions expect the stack as a call at a multiple of 16 leaves it.
    core::arch::naked_asm!(
        "xor ebp, ebp",
        "and rsp, -16",
        "call {begin}",
        "ud2",
        begin = sym begin,
    )
}

extern "C" fn begin() -> ! {
    sys::leave(crate::shim::run())
}

/// The heap of a program with one thread.
struct OneThread(UnsafeCell<Heap>);

// SAFETY: the program has exactly one thread and no signal handlers, so nobody else can be in here.
unsafe impl Sync for OneThread {}

#[global_allocator]
static HEAP: OneThread = OneThread(UnsafeCell::new(Heap::new()));

impl OneThread {
    /// The heap, for the length of one of its calls.
    #[expect(
        clippy::mut_from_ref,
        reason = "the heap never calls anything that allocates, so there is one reference at a time"
    )]
    fn heap(&self) -> &mut Heap {
        // SAFETY: one thread, no signal handlers, and no caller keeps the reference; see above.
        unsafe { &mut *self.0.get() }
    }
}

// SAFETY: blocks are as large and as aligned as asked for, belong to one owner until they are freed, and stay where
// they are; the heap's own tests hold it to that. It never unwinds.
unsafe impl GlobalAlloc for OneThread {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.heap().allocate(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: what the caller promises is what the heap asks for.
        unsafe { self.heap().free(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: what the caller promises is what the heap asks for.
        unsafe { self.heap().resize(block, layout, new_size) }
    }
}

/// Gives unused heap pages back to the kernel.
pub(crate) fn release_memory() {
    HEAP.heap().release();
}

/// Standard error, unbuffered.
struct Stderr;

impl Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match rustix::io::write(sys::stderr(), text.as_bytes()) {
            Ok(written) if written == text.len() => Ok(()),
            Ok(_) | Err(_) => Err(fmt::Error),
        }
    }
}

/// Says why and dies as the standard library would have it: by SIGABRT.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // One who cannot be heard dies all the same.
    best_effort(writeln!(Stderr, "legwork-shim {info}"));
    sys::abort()
}

/// What would run destructors on the way out of a panic. None gets here, but the compiler's own libraries, which are
/// made for programs that unwind too, name it.
// SAFETY: nothing else defines it, and nothing calls it: a panic ends the process.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    sys::abort()
}

/// What would tell an unwinder which destructors those are; named in tables that nobody reads.
// SAFETY: nothing else defines it, and nothing calls it: there is no unwinder.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    sys::abort()
}

// The functions that compiled code calls without being told to.

/// # Safety
/// As memcpy(3).
// SAFETY: does what the name promises; there is no C library to define another.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: what the caller promises is what it asks for.
    unsafe { memory::copy(to, from, length) };
    to
}

/// # Safety
/// As memmove(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: what the caller promises is what it asks for.
    unsafe { memory::copy_within(to, from, length) };
    to
}

/// # Safety
/// As memset(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(at: *mut u8, byte: c_int, length: usize) -> *mut u8 {
    let [byte, ..] = byte.to_le_bytes();
    // SAFETY: what the caller promises is what it asks for.
    unsafe { memory::fill(at, byte, length) };
    at
}

/// # Safety
/// As memcmp(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> c_int {
    // SAFETY: what the caller promises is what it asks for.
    unsafe { memory::compare(a, b, length) }
}

/// # Safety
/// As bcmp(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> c_int {
    // SAFETY: what the caller promises is what it asks for.
    unsafe { memory::compare(a, b, length) }
}

/// # Safety
/// As strlen(3).
// SAFETY: as above.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    // SAFETY: what the caller promises is what it asks for.
    unsafe { memory::length(text) }
}
