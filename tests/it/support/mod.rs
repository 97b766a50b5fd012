//! What the tests stand on: a throw-away Postgres, gateways on real sockets, a scripted provider.

#![allow(dead_code, unreachable_pub, reason = "each part serves some of the tests")]

pub mod client;
pub mod gateway;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod watch;
pub mod proxy;
