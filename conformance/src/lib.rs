//! What holds of an OCI runtime, case by case, whichever runtime it is.
//!
//! It imports nothing of this workspace, so that it can fail it as it can fail anybody else.
//! A [`case::Case`] is one sentence and a check; a [`scene::Scene`] is what the check works with;
//! [`inside`] is what runs in the containers; [`theatre`] runs the cases; [`report`] tells.
#![deny(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "its own directories, which nobody else writes to"
)]

pub mod arguments;
pub mod bundle;
pub mod case;
pub mod holder;
pub mod host;
pub mod inside;
mod keeper;
pub mod known;
mod lanes;
pub mod listener;
pub mod missing;
pub mod outcome;
pub mod report;
pub mod residue;
pub mod run;
pub mod runtime;
pub mod scene;
pub mod schema;
pub mod setting;
mod shelter;
pub mod suites;
mod sys;
pub mod theatre;
mod view;
