//! The control plane over real sockets, on the ledger in memory.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod control;
mod app;
mod broken;
mod registering;
mod reading;
mod lines;
mod models;
mod totals;
mod changing;
mod closing;
mod entering;
