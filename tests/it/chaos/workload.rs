//! What the clients and the orchestrator do, from a seed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::provider::{Manner, Order};
use super::world::{SharedRun, World};
use crate::ledger_contract::Random;
use crate::support::client::{Answer, Run, prompt};

/// Works until the world stops.
pub async fn work(world: Arc<World>, client: u64, seed: u64) {
    let mut random = Random(seed.wrapping_add(client.wrapping_mul(0x5eed)));
    let mut number = client * 1_000_000;
    while !world.stop.load(Ordering::Acquire) {
        number += 1;
        let shared = &world.runs[random.index(world.runs.len())];
        match random.below(100) {
            0..=1 => rotate(&world, shared, number, &mut random).await,
            2..=3 => next_attempt(&world, shared, number, &mut random).await,
            4..=6 => change_cap(&world, shared, &mut random).await,
            7..=8 => close(&world, shared, number, &mut random).await,
            9 => cancel(&world, shared, number, &mut random).await,
            10..=14 => read(&world, shared).await,
            _ => call(&world, shared, number, &mut random).await,
        }
    }
}

/// A call in any of its ways; the client may leave at any moment.
async fn call(world: &World, shared: &SharedRun, number: u64, random: &mut Random) {
    let run = shared.run.read().clone();
    let order = Order {
        number,
        manner: Manner::random(random),
        output: 1 + random.below(40),
        delay_ms: random.below(120),
    };
    let (streamed, leaves) = (random.one_in(2), random.one_in(6).then(|| random.below(200)));
    let (first, maximum) = (random.index(2), 40 + random.below(400));
    let Some(request) = request(world, &run, order, (streamed, maximum), first) else {
        return sleep(Duration::from_millis(20)).await;
    };
    let answered = async {
        let Ok(response) = request.send().await else { return };
        if response.status() == 200 && streamed {
            let mut pieces = response.bytes_stream();
            while let Some(Ok(_)) = pieces.next().await {}
            return;
        }
        world.look_at("call", &Answer::of(response).await);
    };
    let patience = leaves.map_or(Duration::from_secs(12), Duration::from_millis);
    if timeout(patience, answered).await.is_err() && leaves.is_none() {
        world.wrong.lock().push(format!("call {number} was not answered within {patience:?}"));
    }
}

fn request(
    world: &World,
    run: &Run,
    order: Order,
    (streamed, maximum): (bool, u64),
    first: usize,
) -> Option<reqwest::RequestBuilder> {
    let mut body = prompt(&order.prompt());
    body["max_tokens"] = json!(maximum);
    body["stream"] = json!(streamed);
    let client = world.client(first)?;
    Some(client.chat(run, &body).header("x-request-id", format!("chaos-{}", order.number)))
}

/// A call that must reach nobody: `run` names a token or a state that has ended.
async fn try_the_dead(world: &World, run: &Run, number: u64, random: &mut Random) {
    let order = Order { number, manner: Manner::Serve, output: 3, delay_ms: 0 };
    world.forbidden.lock().insert(number);
    let Some(request) = request(world, run, order, (false, 50), random.index(2)) else { return };
    if let Ok(Ok(response)) = timeout(Duration::from_secs(12), request.send()).await
        && response.status() == 200
    {
        world.wrong.lock().push(format!("call {number} was served on what had ended"));
    }
}

/// Asks until there is an answer, which is told if it is not a failure of the surroundings.
async fn insist(world: &World, path: &str, body: &Value) -> Answer {
    loop {
        if let Some(answer) = world.operate(path, body).await.filter(|it| it.status < 500) {
            return answer;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn rotate(world: &World, shared: &SharedRun, number: u64, random: &mut Random) {
    let _changing = shared.changing.lock().await;
    let old = shared.run.read().clone();
    let answer = insist(world, &format!("/runs/{}/token", old.id), &json!({})).await;
    assert!(answer.status < 300, "{answer:?}");
    take_token(shared, &old, &answer);
    try_the_dead(world, &old, number, random).await;
}

async fn next_attempt(world: &World, shared: &SharedRun, number: u64, random: &mut Random) {
    let _changing = shared.changing.lock().await;
    let old = shared.run.read().clone();
    open_attempt(world, shared, &old).await;
    try_the_dead(world, &old, number, random).await;
}

async fn open_attempt(world: &World, shared: &SharedRun, old: &Run) {
    let body = json!({"status": "running"});
    let answer = insist(world, &format!("/runs/{}/attempts", old.id), &body).await;
    assert!(answer.status < 300, "{answer:?}");
    take_token(shared, old, &answer);
}

fn take_token(shared: &SharedRun, old: &Run, answer: &Answer) {
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    *shared.run.write() = Run { id: old.id.clone(), token };
}

async fn change_cap(world: &World, shared: &SharedRun, random: &mut Random) {
    let id = shared.run.read().id.clone();
    let cap = format!("0.{:06}", 100 + random.below(3_000));
    let path = format!("/runs/{id}");
    let body = json!({"cost_limit_usd": cap});
    let _answered = world.operate_by(reqwest::Method::PATCH, &path, &body).await;
}

/// Closes a run; afterwards it gets another attempt.
async fn close(world: &World, shared: &SharedRun, number: u64, random: &mut Random) {
    let _changing = shared.changing.lock().await;
    let run = shared.run.read().clone();
    let mode = if random.one_in(2) { "abort" } else { "drain" };
    let body = json!({"mode": mode, "wait_seconds": random.below(3)});
    let answer = insist(world, &format!("/runs/{}/close", run.id), &body).await;
    assert!(answer.status < 300, "{answer:?}");
    try_the_dead(world, &run, number, random).await;
    open_attempt(world, shared, &run).await;
}

/// Cancels a run for good; another takes its place.
async fn cancel(world: &World, shared: &SharedRun, number: u64, random: &mut Random) {
    let _changing = shared.changing.lock().await;
    let run = shared.run.read().clone();
    let path = format!("/runs/{}", run.id);
    let body = json!({"status": "cancelled"});
    let cancelled = world.operate_by(reqwest::Method::PATCH, &path, &body).await;
    if cancelled.is_some_and(|answer| answer.status == 200) {
        try_the_dead(world, &run, number, random).await;
    }
    let next = world.register(shared.kind).await;
    *shared.run.write() = next;
}

async fn read(world: &World, shared: &SharedRun) {
    let id = shared.run.read().id.clone();
    let path = format!("/runs/{id}/usage");
    let _answered = world.operate_by(reqwest::Method::GET, &path, &json!({})).await;
}
