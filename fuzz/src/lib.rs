//! Where the searches of whole conversations begin.
//!
//! A search that begins with nothing would hardly ever get past the first message of a conversation. So what is too short to be one
//! becomes a sample of one before it is mutated, and all that comes later is a variation of that.

/// Sizes below which an input is taken for the empty one that a search begins with.
const NOTHING: usize = 8;

/// Mutates the first `size` bytes of `data`, or `sample` if these are next to nothing, and tells how many they are then: at most
/// `max_size`, which is what fits into `data`.
pub fn mutate_from(sample: &[u8], data: &mut [u8], size: usize, max_size: usize) -> usize {
    let size = if size < NOTHING && sample.len() <= max_size {
        data[..sample.len()].copy_from_slice(sample);
        sample.len()
    } else {
        size
    };
    libfuzzer_sys::fuzzer_mutate(data, size, max_size)
}
