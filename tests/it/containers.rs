//! What runs the gateway in containers is held against the code. No container is started here.

use std::fs;
use std::path::PathBuf;

mod health;
mod image;
mod compose;
mod balancer;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A duration such as `90s`, in seconds.
#[track_caller]
fn seconds(text: &str) -> u64 {
    let number = text.strip_suffix('s').unwrap_or_else(|| panic!("{text} is not in seconds"));
    number.parse().unwrap_or_else(|_| panic!("{text} is not a number of seconds"))
}
