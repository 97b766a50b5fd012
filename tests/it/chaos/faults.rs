//! What goes wrong, from a seed, one fault after the other; some overlap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::sleep;

use super::world::{GATEWAYS, World};
use crate::ledger_contract::Random;
use crate::support::postgres;
use crate::support::proxy::Network;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    GatewayKilled,
    GatewayTerminated,
    GatewayFrozen,
    PostgresCrashed,
    ConnectionsCut,
    ConnectionsStalled,
    AnswersLost,
    BackendsTerminated,
    BackendFrozen,
    BudgetLocked,
    ProviderAway,
}

use Fault::*;

const ALL: [Fault; 11] = [
    GatewayKilled,
    GatewayTerminated,
    GatewayFrozen,
    PostgresCrashed,
    ConnectionsCut,
    ConnectionsStalled,
    AnswersLost,
    BackendsTerminated,
    BackendFrozen,
    BudgetLocked,
    ProviderAway,
];

/// The faults to come.
pub struct Plan {
    random: Random,
    left: Vec<Fault>,
}

impl Plan {
    pub fn new(random: Random) -> Self {
        Self { random, left: Vec::new() }
    }

    /// Injects so many faults: each kind once in every round, in an order of its own.
    pub async fn inject(&mut self, world: &World, faults: usize) -> BTreeMap<Fault, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..faults {
            let fault = self.next();
            sleep(self.millis(20, 250)).await;
            self.happen(world, fault).await;
            *counts.entry(fault).or_insert(0) += 1;
        }
        counts
    }

    fn next(&mut self) -> Fault {
        if self.left.is_empty() {
            self.left = ALL.to_vec();
        }
        let index = self.random.index(self.left.len());
        self.left.swap_remove(index)
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.random.below(to - from))
    }

    /// How long something lasts: mostly moments, sometimes longer than leases and patience.
    fn lasting(&mut self) -> Duration {
        if self.random.one_in(6) { self.millis(2_500, 5_500) } else { self.millis(20, 900) }
    }

    async fn happen(&mut self, world: &World, fault: Fault) {
        let (place, lasting) = (self.random.index(GATEWAYS), self.lasting());
        match fault {
            GatewayKilled => {
                let Some(gateway) = world.take_gateway(place) else { return };
                gateway.kill();
                world.start_gateway(place).await;
            }
            GatewayTerminated => {
                let Some(gateway) = world.take_gateway(place) else { return };
                // The next one starts while the last one drains.
                let ending = tokio::task::spawn_blocking(move || gateway.terminate());
                world.start_gateway(place).await;
                if ending.await.unwrap() != Some(0) {
                    world.wrong.lock().push("a terminated gateway did not exit with 0".into());
                }
            }
            GatewayFrozen => freeze_gateway(world, place, lasting).await,
            PostgresCrashed => self.crash(world, place, lasting).await,
            ConnectionsCut => world.proxy.cut(),
            ConnectionsStalled => {
                world.proxy.set(Network::Stalled);
                sleep(lasting).await;
                world.proxy.set(Network::Up);
            }
            AnswersLost => {
                world.proxy.set(Network::Deaf);
                sleep(self.millis(5, 60)).await;
                world.proxy.cut();
                world.proxy.set(Network::Up);
            }
            BackendsTerminated => self.terminate_backends(world).await.unwrap(),
            BackendFrozen => self.freeze_backend(world, lasting).await.unwrap(),
            BudgetLocked => self.lock_a_budget(world, lasting).await.unwrap(),
            ProviderAway => world.provider.refuse(self.millis(20, 500)).await,
        }
    }

    /// Postgres goes as in a crash; now and then a gateway goes with it.
    async fn crash(&mut self, world: &World, place: usize, lasting: Duration) {
        let cluster = Arc::clone(&world.cluster);
        tokio::task::spawn_blocking(move || cluster.stop_immediate().unwrap()).await.unwrap();
        let dies_too = self.random.one_in(3).then(|| world.take_gateway(place)).flatten();
        let died = dies_too.map(|gateway| gateway.kill()).is_some();
        sleep(lasting).await;
        let cluster = Arc::clone(&world.cluster);
        tokio::task::spawn_blocking(move || cluster.restart().unwrap()).await.unwrap();
        if died {
            world.start_gateway(place).await;
        }
    }

    async fn terminate_backends(&mut self, world: &World) -> Result<(), sqlx::Error> {
        let mut operator = postgres::connect(&world.cluster.url()).await;
        for pid in backends(&mut operator).await? {
            if self.random.one_in(2) {
                let terminate = sqlx::query("SELECT pg_terminate_backend($1)").bind(pid);
                terminate.execute(&mut operator).await?;
            }
        }
        operator.close().await
    }

    async fn freeze_backend(&mut self, world: &World, time: Duration) -> Result<(), sqlx::Error> {
        let mut operator = postgres::connect(&world.cluster.url()).await;
        let pids = backends(&mut operator).await?;
        if let Some(index) = self.random.choose(&pids) {
            // It may hold a lock that everybody needs, so nothing is asked meanwhile.
            let backend = Pid::from_raw(pids[index]);
            let _it_may_have_ended = kill(backend, Signal::SIGSTOP);
            sleep(time).await;
            let _it_may_have_ended = kill(backend, Signal::SIGCONT);
        }
        operator.close().await
    }

    async fn lock_a_budget(&mut self, world: &World, time: Duration) -> Result<(), sqlx::Error> {
        let run = world.runs[self.random.index(world.runs.len())].run.read().id.clone();
        let mut operator = postgres::connect(&world.cluster.url()).await;
        let mut lock = operator.begin().await?;
        sqlx::query("SELECT 1 FROM budgets WHERE scope_id = $1::uuid ORDER BY id FOR UPDATE")
            .bind(run)
            .execute(&mut *lock)
            .await?;
        sleep(time).await;
        lock.rollback().await
    }
}

async fn backends(operator: &mut PgConnection) -> Result<Vec<i32>, sqlx::Error> {
    let ours = "SELECT pid FROM pg_stat_activity WHERE application_name = 'rungate' ORDER BY pid";
    let rows = sqlx::query(ours).fetch_all(operator).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A gateway stands still, perhaps for so long that the other one declares it dead.
async fn freeze_gateway(world: &World, place: usize, time: Duration) {
    let Some(pid) = world.gateways[place].lock().as_ref().map(|gateway| gateway.pid()) else {
        return;
    };
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    sleep(time).await;
    kill(pid, Signal::SIGCONT).unwrap();
}
