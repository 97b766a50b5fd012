//! Organizations over HTTP: who may do what, and that nobody sees or infers what is another's.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod stage;
mod matrix;
mod seed;
mod signing_in;
mod changes;
mod untold;
mod key_changes;
mod credits;
mod listing;
