#![doc = include_str!("ARCHITECTURE.md")]

pub mod domain;

pub mod providers;
pub mod catalog;
pub mod protocol;
pub mod simulator;
pub mod storage;
pub mod ledger;
pub mod limits;
pub mod config;
pub mod upstream;
pub mod gateway;
pub mod http;
pub mod jobs;
pub mod telemetry;
pub mod server;
pub mod cli;
