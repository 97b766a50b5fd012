//! What operators do and see: stops and restarts, memory, what is written where.

mod books;
mod shutdown;
mod hurry;
mod proxy;
mod rolling;
mod memory;
mod panics;
mod secrets;
mod security;
