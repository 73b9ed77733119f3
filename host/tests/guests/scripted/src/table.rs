//! A table that grows without end, which Rust itself has no words for.

use std::hint::black_box;

std::arch::global_asm!(
    ".tabletype scripted_table, funcref",
    "scripted_table:",
    ".globl scripted_grow",
    ".type scripted_grow, @function",
    "scripted_grow:",
    ".functype scripted_grow (i32) -> (i32)",
    "ref.null_func",
    "local.get 0",
    "table.grow scripted_table",
    "end_function",
);

unsafe extern "C" {
    fn scripted_grow(elements: u32) -> i32;
}

/// Grows it until that is refused, and ends then, as for an allocation.
pub fn fill() {
    // No pointers and no memory are part of it.
    while black_box(unsafe { scripted_grow(1000) }) >= 0 {}
    std::process::abort();
}
