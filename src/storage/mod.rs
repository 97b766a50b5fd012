//! What is kept in Postgres besides the ledger, the private Postgres itself, and files.

pub mod cluster;
pub mod new_file;
