//! How long the parts take that do no I/O.

fn main() {}
