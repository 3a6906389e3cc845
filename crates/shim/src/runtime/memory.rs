//! Copying, filling and comparing memory: what compiled code takes for granted that somebody provides.
//!
//! What is longer than a few words is left to the processor's own instructions for strings. Written as plain loops,
//! the compiler would take them for what they are and replace them by calls of themselves.
#![expect(unsafe_code, reason = "raw memory is what this is about")]

use core::arch::asm;

/// Copies by two pieces of one type that may overlap each other, where the length lies between its size and twice that.
/// Everything is read before anything is written.
macro_rules! two_pieces {
    ($piece:ty, $to:expr, $from:expr, $length:expr) => {{
        let last = $length - size_of::<$piece>();
        // SAFETY: the length is at least the size of a piece, and the caller may read so many bytes.
        let head = unsafe { $from.cast::<$piece>().read_unaligned() };
        // SAFETY: no piece ends after the last byte.
        let end = unsafe { $from.add(last) };
        // SAFETY: as above.
        let tail = unsafe { end.cast::<$piece>().read_unaligned() };
        // SAFETY: as for reading, and the caller may write so many bytes.
        unsafe { $to.cast::<$piece>().write_unaligned(head) };
        // SAFETY: as above.
        let end = unsafe { $to.add(last) };
        // SAFETY: as above.
        unsafe { end.cast::<$piece>().write_unaligned(tail) };
    }};
}

/// Copies up to 32 bytes, overlapping or not. False, and nothing is done, if there are more.
///
/// # Safety
/// As for [`copy_within`].
unsafe fn copy_few(to: *mut u8, from: *const u8, length: usize) -> bool {
    match length {
        0 => {}
        1 => {
            // SAFETY: the caller may read one byte.
            let byte = unsafe { from.read() };
            // SAFETY: the caller may write one byte.
            unsafe { to.write(byte) };
        }
        2..4 => two_pieces!(u16, to, from, length),
        4..8 => two_pieces!(u32, to, from, length),
        8..16 => two_pieces!(u64, to, from, length),
        16..=32 => two_pieces!(u128, to, from, length),
        _ => return false,
    }
    true
}

/// Copies from the first byte to the last.
///
/// # Safety
/// `length` bytes at `from` may be read and at `to` written, and no byte is written before it is read.
unsafe fn copy_forward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: reads and writes what the caller answers for. The direction flag is clear wherever compiled code runs.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Copies memory that does not overlap.
///
/// # Safety
/// `length` bytes at `from` may be read and at `to` written, and the two do not overlap.
pub(super) unsafe fn copy(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: asks for less than the caller promises.
    let done = unsafe { copy_few(to, from, length) };
    if !done {
        // SAFETY: what does not overlap is not written before it is read.
        unsafe { copy_forward(to, from, length) };
    }
}

/// Copies memory that may overlap.
///
/// # Safety
/// `length` bytes at `from` may be read and at `to` written.
pub(super) unsafe fn copy_within(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: asks for what the caller promises.
    if unsafe { copy_few(to, from, length) } {
        return;
    }
    // Below `from`, or so far above that they do not overlap: the distance counts around the end of memory.
    if to.addr().wrapping_sub(from.addr()) >= length {
        // SAFETY: a byte is written below or far above those that have not been read.
        unsafe { copy_forward(to, from, length) };
        return;
    }
    // SAFETY: `length` is more than 32 here, and there are so many bytes.
    let last_to = unsafe { to.add(length - 1) };
    // SAFETY: as above.
    let last_from = unsafe { from.add(length - 1) };
    // SAFETY: reads and writes what the caller answers for, from the last byte to the first; so a byte is written
    // above those that have not been read. The direction flag is clear again at the end.
    unsafe {
        asm!(
            "std",
            "rep movsb",
            "cld",
            inout("rcx") length => _,
            inout("rdi") last_to => _,
            inout("rsi") last_from => _,
            options(nostack),
        );
    }
}

/// Sets every byte to one value.
///
/// # Safety
/// `length` bytes at `at` may be written.
pub(super) unsafe fn fill(at: *mut u8, byte: u8, length: usize) {
    // SAFETY: writes what the caller answers for. The direction flag is clear wherever compiled code runs.
    unsafe {
        asm!(
            "rep stosb",
            inout("rcx") length => _,
            inout("rdi") at => _,
            in("al") byte,
            options(nostack, preserves_flags),
        );
    }
}

/// Compares byte by byte: the difference of the first two that differ, or 0.
///
/// # Safety
/// `length` bytes at `a` and at `b` may be read.
pub(super) unsafe fn compare(a: *const u8, b: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: `at` is below the number of bytes that there are.
        let from_a = unsafe { a.wrapping_add(at).read() };
        // SAFETY: as above.
        let from_b = unsafe { b.wrapping_add(at).read() };
        if from_a != from_b {
            return i32::from(from_a) - i32::from(from_b);
        }
    }
    0
}

/// The number of bytes before the first that is 0.
///
/// # Safety
/// There is one, and all bytes up to it may be read.
pub(super) unsafe fn length(text: *const u8) -> usize {
    let mut at = 0;
    loop {
        let byte: u8;
        // SAFETY: no byte before was the last. It is read by an instruction of its own, because the compiler knows
        // plain loops over a string and would call this function for it.
        unsafe {
            asm!(
                "mov {byte}, byte ptr [{text} + {at}]",
                byte = out(reg_byte) byte,
                text = in(reg) text,
                at = in(reg) at,
                options(nostack, preserves_flags, readonly, pure),
            );
        }
        if byte == 0 {
            return at;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{compare, copy, copy_within, fill, length};

    /// Lengths around those at which the way of copying changes, and long ones.
    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![0..70_usize, 0..5000_usize]
    }

    proptest! {
        #[test]
        fn a_copy_is_what_was_copied_and_nothing_around_it_changes(
            length in lengths(), to in 1..40_usize, from in 0..40_usize, seed: u8,
        ) {
            let source: Vec<u8> = (0..from + length).map(|at| at.to_le_bytes()[0].wrapping_mul(31) ^ seed).collect();
            let mut target = vec![0xa5; to + length + 1];
            let mut expected = target.clone();
            expected[to..to + length].copy_from_slice(&source[from..]);
            // SAFETY: both slices have `length` bytes from there on, and are two.
            unsafe { copy(target[to..].as_mut_ptr(), source[from..].as_ptr(), length) };
            prop_assert_eq!(target, expected);
        }

        #[test]
        fn overlapping_memory_is_moved_as_slices_are(
            length in lengths(), to in 0..100_usize, from in 0..100_usize,
        ) {
            let mut moved: Vec<u8> = (0..length + 100).map(|at| at.to_le_bytes()[0].wrapping_mul(31)).collect();
            let mut expected = moved.clone();
            expected.copy_within(from..from + length, to);
            let base = moved.as_mut_ptr();
            // SAFETY: neither end is more than `length + 100` bytes after the beginning.
            unsafe { copy_within(base.wrapping_add(to), base.wrapping_add(from), length) };
            prop_assert_eq!(moved, expected);
        }

        #[test]
        fn a_filled_range_has_one_value_and_its_neighbours_keep_theirs(length in lengths(), byte: u8) {
            let mut filled = vec![0xa5; length + 2];
            let mut expected = filled.clone();
            expected[1..=length].fill(byte);
            // SAFETY: there are so many bytes after the first.
            unsafe { fill(filled[1..].as_mut_ptr(), byte, length) };
            prop_assert_eq!(filled, expected);
        }

        #[test]
        fn bytes_are_ordered_as_slices_are(a: Vec<u8>, mut b: Vec<u8>, same in 0..200_usize) {
            let same = same.min(a.len()).min(b.len());
            b[..same].copy_from_slice(&a[..same]);
            let length = a.len().min(b.len());
            // SAFETY: neither slice is shorter.
            let order = unsafe { compare(a.as_ptr(), b.as_ptr(), length) };
            prop_assert_eq!(order.cmp(&0), a[..length].cmp(&b[..length]));
        }

        #[test]
        fn a_string_ends_before_its_first_zero(text: Vec<u8>) {
            let text: Vec<u8> = text.into_iter().chain([0, 1]).collect();
            // SAFETY: there is a zero.
            let found = unsafe { length(text.as_ptr()) };
            prop_assert_eq!(Some(found), text.iter().position(|byte| *byte == 0));
        }
    }
}
