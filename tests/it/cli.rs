//! The commands, as the real binary before real gateways: what they print, where, and how they end.

mod shell;
mod bad_input;
mod tables;
mod watching;
mod models;
mod usage;
mod orgs;
mod people;
mod keys;
mod credits;
mod configured;
mod refused;
mod transcript;
mod env;
mod env_docker;
mod script;
mod greeting;
