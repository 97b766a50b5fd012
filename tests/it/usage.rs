//! What organizations used: folded by day, read exactly, and kept when calls are not.

mod stage;
mod folding;
mod reading;
mod answers;
mod partitions;
mod large;
