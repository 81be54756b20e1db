//! Registries: distribution-spec's API, with the authentication that registries really have.
//!
//! ```text
//! Client ── places of a registry (mirrors, itself) ── Line: one endpoint, one repository
//!   │                                                   │ send: attempts, Retry-After
//!   ├─ grants: tokens by origin and scope ◀─ token ◀────┤ send_authorized: 401, challenge
//!   └─ homes: connections and TLS by origin ◀───────────┤ follow: redirects
//!                                                       └ exchange: one request, one answer
//! ```
//!
//! Blobs come over one connection (`blobs.rs`); what is large and slow over several, piece by
//! piece (`pace.rs` says when, `pieces.rs` how).
//!
//! What must never happen stands in `send.rs`. Everything that is received is bounded: heads and
//! documents by size, streams by the size that a descriptor promised, waits by
//! [`settings::Timeouts`].

mod answer;
mod blobs;
mod certificates;
mod challenge;
mod client;
mod delete;
mod encrypted;
mod exchange;
mod explain;
mod grants;
mod lists;
pub mod login;
mod manifests;
mod pace;
mod pieces;
pub(crate) mod problem;
mod put;
mod range;
mod read;
mod repository;
mod retry;
mod send;
pub mod settings;
mod tls;
mod token;
mod upload;
pub mod url;

pub use blobs::Sink;
pub use client::Client;
pub(crate) use grants::lock;
pub use manifests::{Fetched, Resolved};
pub use repository::Repository;
pub use settings::Settings;
pub use upload::{Source, UploadOptions, Uploaded};
