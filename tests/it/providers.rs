//! Providers that fail or lie: what the client sees, what the ledger holds, whose fault it is, and
//! whether the gateway tries again. Threats 7, 8, 10, 22 and 31.

mod matrix;
mod endless;
mod unreachable;
mod believed;
mod retries;
mod retries_stopped;
mod keep_alive;
mod fallback_stage;
mod fallback;
mod fallback_formats;
