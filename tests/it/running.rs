//! What operators do and see: stops and restarts, memory, what is written where.

mod panics;
