//! Contenders that take turns every few streams. What differs by microseconds would be lost in what
//! the machine does from one second to the next; so it falls on all of them alike.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::contenders::Target;
use crate::load::Answered;
use crate::streams::{Client, Shape, answered};

/// Streams of a contender in each of its turns: enough that what it has in the processor's caches
/// counts, and few enough that all take part in whatever happens.
const TURN: usize = 16;

/// Who is asked, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: Target,
    pub(crate) body: String,
    pub(crate) shape: Shape,
}

/// Streams one after the other on a connection to each, until `time` is over for each of them.
/// Answers what came of each, in their order.
pub(crate) async fn take(contenders: Vec<Asked>, time: Duration) -> Result<Vec<Answered>> {
    // On a thread of its own, without a runtime in between.
    tokio::task::spawn_blocking(move || drive(&contenders, time)).await?
}

fn drive(contenders: &[Asked], time: Duration) -> Result<Vec<Answered>> {
    let connect = |asked: &Asked| Client::connect(&asked.target, 0);
    let mut clients = contenders.iter().map(connect).collect::<Result<Vec<_>>>()?;
    let mut first = vec![(Vec::new(), Duration::ZERO); contenders.len()];
    let began = Instant::now();
    let all = time * u32::try_from(contenders.len())?;
    for begin in 0.. {
        if began.elapsed() >= all {
            break;
        }
        for turn in 0..contenders.len() {
            // Whoever is first in one round is last in another.
            let who = (begin + turn) % contenders.len();
            let Asked { target, body, shape } = &contenders[who];
            let (times, taken) = &mut first[who];
            let began = Instant::now();
            for _ in 0..TURN {
                let seen = clients[who].first_event(target, body, *shape);
                times.push(seen.with_context(|| target.name())?);
            }
            *taken += began.elapsed();
        }
    }
    Ok(first.into_iter().map(|(times, taken)| answered(times, taken)).collect())
}
