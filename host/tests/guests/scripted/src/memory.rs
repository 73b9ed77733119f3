//! What the guest finds in its own memory. table.rs comes next.

use core::arch::wasm32::memory_size;

const PAGE: usize = 64 << 10;

/// How often a text is in the memory of the guest. It is given with every bit flipped, so that what
/// asks for it is not what is found.
pub fn times(flipped: &[u8]) -> usize {
    let end = (memory_size(0) * PAGE).saturating_sub(flipped.len());
    let is_at = |address: usize| {
        flipped.iter().enumerate().all(|(at, byte)| {
            // All of it may be read, whoever it belongs to; address 0 is no place for a pointer.
            let there = unsafe { ((address + at) as *const u8).read_volatile() };
            there == !byte
        })
    };
    if flipped.is_empty() { 0 } else { (1..end).filter(|address| is_at(*address)).count() }
}
