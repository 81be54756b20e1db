//! What a container's first process does between clone3(2) and execve(2).
//!
//! The process is a copy of one thread of a program that may have many, so nothing here may
//! allocate, take a lock, or touch thread-local state of a C library. This crate has neither
//! `std` nor `alloc`, and makes its system calls itself: the compiler holds the rule.
#![no_std]

mod program;

pub use program::*;
