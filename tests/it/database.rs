//! The database fails at each point; nothing is forwarded unmetered, the client is told so, and
//! the books are sound afterwards.

#![allow(
    clippy::print_stdout,
    unreachable_pub,
    reason = "what cannot be tested here is said; parts serve their siblings"
)]

mod backlog;
mod caps;
mod clock;
mod disk;
mod locks;
mod network;
mod releases;
mod rows;
mod sessions;
pub(crate) mod stage;
