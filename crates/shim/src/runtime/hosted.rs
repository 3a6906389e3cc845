//! Begun by a C library, with the standard library's allocator and panics.
#![expect(
    unsafe_code,
    reason = "the entry point and the allocator's own calls have no safe wrapper"
)]

/// Where the C runtime begins. Without the standard library's own start there is no handler for stack
/// overflow, no alternate stack and no change to SIGPIPE: pages and calls that a shim has no use for.
#[cfg(not(test))]
// SAFETY: `main` is the symbol the C runtime calls, with this signature at the most; nothing else in the
// program defines it, because the crate is `no_main`.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn main(
    _argc: core::ffi::c_int,
    _argv: *const *const core::ffi::c_char,
) -> core::ffi::c_int {
    crate::shim::run()
}

/// Gives unused heap pages back to the kernel.
pub(crate) fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the allocator's own maintenance call; it has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
