//! The pace of calls, by a clock that only the tests move.

mod model;
mod gate;
mod settings;
