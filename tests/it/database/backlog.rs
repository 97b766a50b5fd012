//! Settlements that cannot be written stay within a bound.

use std::sync::Arc;
use std::time::Duration;

use rungate::ledger::postgres::PostgresLedger;
use rungate::ledger::queue::RunQueue;
use rungate::ledger::{Ledger, LedgerError};

use super::stage::assert_sound;
use crate::ledger_contract::fixture::Run;
use crate::support::postgres;
use crate::support::proxy::{Network, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_too_much_waits_to_be_written_admission_stops() {
    let database = postgres::database().await;
    let proxy = Proxy::before(&database).await;
    let lease = Duration::from_secs(15);
    let ledger = PostgresLedger::open_bounded(&proxy.url(&database), lease, 2).await.unwrap();
    let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as Arc<dyn Ledger>;
    let run = Run::open(&shared, "1").await;
    let queue = Arc::new(RunQueue::default());
    let admit = async || ledger.admit(run.ask("0.1"), &queue.arrive()).await;
    let first = admit().await.unwrap().unwrap();
    let second = admit().await.unwrap().unwrap();

    proxy.set(Network::Refusing);
    proxy.cut();
    drop((first, second));
    assert_eq!(ledger.backlog(), 2, "they wait");
    assert!(matches!(admit().await, Err(LedgerError::Backlog)));
    assert!(matches!(ledger.ready().await, Err(LedgerError::Backlog)));

    proxy.set(Network::Up);
    ledger.flush().await;
    let third = admit().await.unwrap().unwrap();
    drop(third);
    ledger.flush().await;
    assert_sound(&database).await;
}
