//! The one test binary.

mod catalog;
mod domain;
mod ledger_contract;
