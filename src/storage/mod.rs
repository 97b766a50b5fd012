//! What is kept in Postgres besides the ledger, and the private Postgres itself.

pub mod cluster;
