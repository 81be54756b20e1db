//! `checkpoint` and `restore`: a program goes on where it was, under the config.json that it is
//! given. What needs a real criu runs where one works (the guest of `cargo xtask test`); what is
//! refused before criu is asked runs everywhere.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod confinement;
mod interrupted;
mod life;
mod names;
mod place;
mod refusals;
