//! Memory for a program that lives for milliseconds.
//!
//! musl's allocator asks the kernel for a page for each new size of block and gives it back soon
//! after: 80 system calls in one start. Most runs of `tare` and `tare-image` need less than the
//! arena here, which is part of the program's own zeroed memory, and never ask for more; what does
//! not fit comes from the system's allocator, so a run that lives long stays as small as it would be.

#![allow(
    unsafe_code,
    reason = "GlobalAlloc is an unsafe trait; each block says what makes it sound"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `tare run` of Docker's config needs twice over.
const ARENA_BYTES: usize = 256 * 1024;

/// What every block is aligned to, as malloc(3) does it: nix keeps control messages in bytes and
/// reads them as structures.
const LEAST_ALIGNMENT: usize = 16;

/// An arena from which blocks are cut one after the other, in front of the system's allocator.
///
/// A program names one static of it its `#[global_allocator]`.
#[derive(Debug)]
pub struct Arena {
    memory: UnsafeCell<[u8; ARENA_BYTES]>,
    /// Where the free part begins.
    used: AtomicUsize,
}

// SAFETY: a block belongs to who has moved `used` over it by compare-and-swap, and to nobody
// else until it has moved back: so no two threads have the same bytes of `memory`.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena of which nothing is used. It is zeroed memory: no part of the program's file.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it is made for a static, which no Default can make"
    )]
    pub const fn new() -> Self {
        Self {
            memory: UnsafeCell::new([0; ARENA_BYTES]),
            used: AtomicUsize::new(0),
        }
    }

    fn start(&self) -> usize {
        self.memory.get() as usize
    }

    /// Cuts a block; none if it does not fit.
    fn cut(&self, layout: Layout) -> Option<*mut u8> {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let align = layout.align().max(LEAST_ALIGNMENT);
            let address = (self.start() + used).checked_next_multiple_of(align)?;
            let begin = address - self.start();
            let end = begin
                .checked_add(layout.size())
                .filter(|end| *end <= ARENA_BYTES)?;
            match self
                .used
                .compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(self.memory.get().cast::<u8>().wrapping_add(begin)),
                Err(now) => used = now,
            }
        }
    }

    /// Where the block begins in the arena; none if it is the system's.
    fn offset(&self, block: *mut u8) -> Option<usize> {
        (block as usize)
            .checked_sub(self.start())
            .filter(|offset| *offset < ARENA_BYTES)
    }

    /// Moves the end of the last block; false if another block is the last.
    fn move_end(&self, old_end: usize, new_end: usize) -> bool {
        let moved = |from, to| {
            self.used
                .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        new_end <= ARENA_BYTES && moved(old_end, new_end)
    }
}

// SAFETY: every block is aligned, large enough, and disjoint from all others that are in use:
// blocks of the arena by `cut`, all others by the system's allocator.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.cut(layout) {
            Some(block) => block,
            // SAFETY: the caller's promise about `layout` is the one that System asks for.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset(block) {
            // A block that is not the last stays cut until the program ends.
            Some(offset) => {
                self.move_end(offset + layout.size(), offset);
            }
            // SAFETY: the block is not the arena's, so System has given it, with this layout.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = self.offset(block) else {
            // SAFETY: the block is System's, with this layout; `size` is the caller's promise.
            return unsafe { System.realloc(block, layout, size) };
        };
        if offset
            .checked_add(size)
            .is_some_and(|end| self.move_end(offset + layout.size(), end))
        {
            return block;
        }
        // SAFETY: the caller promises that `size`, rounded up to the alignment, is no overflow.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `new_layout` has a size that is not zero, as the caller promises for `size`.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            let kept = layout.size().min(size);
            // SAFETY: both blocks have at least `kept` bytes, and the new one is disjoint.
            unsafe { std::ptr::copy_nonoverlapping(block, new, kept) };
            // SAFETY: the block was allocated here with `layout`, and nobody uses it any more.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn blocks_are_aligned_and_disjoint_and_the_last_one_comes_back() {
        let arena = Box::new(Arena::new());
        let first = arena.cut(layout(3, 1)).unwrap() as usize;
        let second = arena.cut(layout(64, 32)).unwrap();
        assert_eq!(second as usize % 32, 0);
        assert!(second as usize >= first + 3);
        // SAFETY: allocated just above with this layout.
        unsafe { arena.dealloc(second, layout(64, 32)) };
        assert_eq!(arena.cut(layout(64, 32)).unwrap(), second);
    }

    #[test]
    fn the_last_block_grows_in_place_and_others_move_with_their_bytes() {
        let arena = Box::new(Arena::new());
        let first = arena.cut(layout(4, 1)).unwrap();
        // SAFETY: the block has four bytes.
        unsafe { first.cast::<[u8; 4]>().write(*b"tare") };
        // SAFETY: allocated just above with this layout.
        let grown = unsafe { arena.realloc(first, layout(4, 1), 100) };
        assert_eq!(grown, first);
        arena.cut(layout(1, 1)).unwrap();
        // SAFETY: allocated above with this layout.
        let moved = unsafe { arena.realloc(grown, layout(100, 1), 200) };
        assert_ne!(moved, grown);
        // SAFETY: the block has at least four bytes, which were copied.
        assert_eq!(unsafe { moved.cast::<[u8; 4]>().read() }, *b"tare");
    }

    #[test]
    fn what_does_not_fit_is_the_systems() {
        let arena = Box::new(Arena::new());
        let large = layout(ARENA_BYTES + 1, 8);
        // SAFETY: the layout has a size.
        let block = unsafe { arena.alloc(large) };
        assert!(!block.is_null() && arena.offset(block).is_none());
        // SAFETY: allocated just above with this layout.
        unsafe { arena.dealloc(block, large) };
    }
}
