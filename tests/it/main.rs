//! The one test binary.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support;

mod domain;
mod catalog;
mod prices;
mod tiers;
mod protocol;
mod responses;
mod ledger_contract;
mod ledger_postgres;
mod ledger_steps;
mod ledger_windows;
mod usage;
mod data_plane;
mod providers;
mod control_plane;
mod tidy;
mod docs;
mod settings;
mod cli;
mod containers;
mod crash;
mod chaos;
mod database;
mod formats;
mod holding;
mod translate;
mod openapi;
mod tenancy;
mod threats;
mod tenants;
mod fuzz;
mod edge;
mod tls;
mod jwt;
mod running;
mod limits;
