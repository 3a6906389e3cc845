//! What the program stands on: a way to begin, memory, and words for a panic.
//!
//! There are two of it. With the feature `std`, [`hosted`] begins as any C program does, and the standard library
//! brings the rest; so it is in tests, and on architectures that [`bare`] does not know. Without it, `bare` is all there
//! is: the kernel jumps to its first instruction, [`heap`] hands out memory that it has from [`pages`], and [`memory`]
//! copies it. Everything else in the program is the same in both.
//!
//! **Why.** A C library looks around before it lets a program begin, most of all at the processor, and on a
//! virtual machine each such question (`cpuid`) is answered by the host. A shim that
//! found nothing to do spent more than half of its time on that; see `docs/design/bare-shim.md`.

#[cfg(not(any(test, feature = "std")))]
mod bare;
#[cfg(all(target_arch = "x86_64", any(test, not(feature = "std"))))]
mod heap;
#[cfg(feature = "std")]
mod hosted;
#[cfg(all(target_arch = "x86_64", any(test, not(feature = "std"))))]
mod memory;
#[cfg(all(target_arch = "x86_64", any(test, not(feature = "std"))))]
mod pages;

#[cfg(not(any(test, feature = "std")))]
pub(crate) use bare::release_memory;
#[cfg(feature = "std")]
pub(crate) use hosted::release_memory;
