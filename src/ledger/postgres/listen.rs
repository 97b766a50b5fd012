//! What the gateways tell each other through the database.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::id::{KeyId, OrganizationId, RunId};

use super::super::Event;
use super::connection::Backoff;
use super::{ACQUIRE_TIMEOUT, statements};

const CHANNEL: &str = "rungate";
/// After so long a silence the connection is asked whether it still lives.
const SILENCE: Duration = Duration::from_secs(10);

/// Turns notifications into events until `stop`. After every (re)connection it says that events
/// may have been missed.
pub async fn listen(pool: PgPool, events: mpsc::UnboundedSender<Event>, stop: CancellationToken) {
    let mut pause = Backoff::default();
    loop {
        let listening = tokio::select! {
            () = stop.cancelled() => return,
            ended = listen_once(&pool, &events) => ended,
        };
        tracing::warn!(error = &listening.error as &dyn std::error::Error, "listener.reconnecting");
        if listening.heard {
            pause = Backoff::default();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.next()) => {}
        }
    }
}

/// How listening on one connection ended.
struct Ended {
    error: sqlx::Error,
    /// Whether it had begun.
    heard: bool,
}

async fn listen_once(pool: &PgPool, events: &mpsc::UnboundedSender<Event>) -> Ended {
    match timeout(ACQUIRE_TIMEOUT, begin(pool)).await {
        Ok(Ok(mut listener)) => {
            announce(events, Event::Reconnected);
            Ended { error: hear(&mut listener, events).await, heard: true }
        }
        Ok(Err(error)) => Ended { error, heard: false },
        Err(_) => Ended { error: sqlx::Error::PoolTimedOut, heard: false },
    }
}

async fn begin(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Passes on what it hears, until the connection breaks or no longer answers.
async fn hear(listener: &mut PgListener, events: &mpsc::UnboundedSender<Event>) -> sqlx::Error {
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                if let Some(event) = parse(notification.payload()) {
                    announce(events, event);
                }
            }
            Ok(Ok(None)) => return sqlx::Error::PoolClosed,
            Ok(Err(error)) => return error,
            Err(_) => {
                let ping = sqlx::query(statements::PING).execute(&mut *listener);
                match timeout(ACQUIRE_TIMEOUT, ping).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return error,
                    Err(_) => return sqlx::Error::PoolTimedOut,
                }
            }
        }
    }
}

fn parse(payload: &str) -> Option<Event> {
    let (kind, id) = payload.split_once(':')?;
    match kind {
        "run" => RunId::parse(id).map(Event::RunChanged),
        "budget" => Uuid::try_parse(id).ok().map(Event::BudgetFreed),
        "key" => KeyId::parse(id).map(Event::KeyChanged),
        "organization" => OrganizationId::parse(id).map(Event::OrganizationChanged),
        _ => None,
    }
}

/// Sends an event; nobody listening is no failure.
fn announce(events: &mpsc::UnboundedSender<Event>, event: Event) {
    let _nobody_listens = events.send(event);
}
