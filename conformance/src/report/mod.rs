//! What is said of the results: as text for a person, as JSON for a program, as a table.

pub mod again;
pub mod json;
pub mod markdown;
pub mod text;
pub mod times;
