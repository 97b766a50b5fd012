//! What the gateways tell each other through the database.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::domain::id::RunId;

use super::super::Event;

const CHANNEL: &str = "rungate";
const PAUSE: Duration = Duration::from_millis(500);

/// Turns notifications into events until `stop`. After every (re)connection it says that events
/// may have been missed.
pub async fn listen(pool: PgPool, events: mpsc::UnboundedSender<Event>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            error = listen_once(&pool, &events) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "listener.reconnecting");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen_once(pool: &PgPool, events: &mpsc::UnboundedSender<Event>) -> sqlx::Error {
    let mut listener = match PgListener::connect_with(pool).await {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    if let Err(error) = listener.listen(CHANNEL).await {
        return error;
    }
    announce(events, Event::Reconnected);
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => {
                if let Some(event) = parse(notification.payload()) {
                    announce(events, event);
                }
            }
            Ok(None) => return sqlx::Error::PoolClosed,
            Err(error) => return error,
        }
    }
}

fn parse(payload: &str) -> Option<Event> {
    let (kind, id) = payload.split_once(':')?;
    let run = RunId::parse(id)?;
    match kind {
        "run" => Some(Event::RunChanged(run)),
        "budget" => Some(Event::BudgetFreed(run)),
        _ => None,
    }
}

/// Sends an event; nobody listening is no failure.
fn announce(events: &mpsc::UnboundedSender<Event>, event: Event) {
    let _nobody_listens = events.send(event);
}
