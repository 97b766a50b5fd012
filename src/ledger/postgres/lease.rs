//! Leases: how gateways know that another one has died, by the database's clock alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool, Row as _};

use crate::domain::id::{GatewayId, ReservationId};

use super::connection::LaneConnection;
use super::settle::Stale;
use super::{ANSWER_TIMEOUT, STATEMENT_TIMEOUT, statements, within};

/// The most reservations that one sweep moves in one statement.
const SWEEP_BATCH: i32 = 500;

/// This gateway's lease.
pub struct Lease {
    gateway: Mutex<GatewayId>,
    seconds: f64,
    steady: AtomicBool,
    failing: AtomicBool,
    connection: tokio::sync::Mutex<LaneConnection>,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Gateways that were declared dead.
    pub gateways: u64,
    /// Reservations that were expired at their worst case.
    pub reservations: u64,
}

impl Lease {
    pub(super) async fn take(
        pool: &PgPool,
        options: PgConnectOptions,
        length: Duration,
    ) -> Result<Self, sqlx::Error> {
        let seconds = length.as_secs_f64();
        let gateway = GatewayId::generate();
        sqlx::query(statements::TAKE_LEASE)
            .bind(gateway.uuid())
            .bind(seconds)
            .execute(pool)
            .await?;
        Ok(Self {
            gateway: Mutex::new(gateway),
            seconds,
            steady: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            connection: tokio::sync::Mutex::new(LaneConnection::new(options)),
        })
    }

    /// The name under which this gateway reserves at the moment.
    pub fn gateway(&self) -> GatewayId {
        *self.gateway.lock()
    }

    /// Renews the lease, on a connection that nobody else can keep it waiting for.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn renew(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let renewed = connection.run(async |c| self.renew_on(c).await).await;
        if renewed.is_err() {
            self.steady.store(false, Ordering::Release);
        }
        self.failing.store(renewed.is_err(), Ordering::Release);
        renewed
    }

    /// Renews the lease on a connection at hand. A gateway that was declared dead meanwhile goes on
    /// under a new name: what it reserved under the old one is charged at the worst case.
    pub(super) async fn renew_on(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let known = self.gateway();
        let renewed = sqlx::query(statements::RENEW_LEASE)
            .bind(known.uuid())
            .bind(self.seconds)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = renewed {
            self.steady.store(row.try_get(0)?, Ordering::Release);
            return Ok(());
        }
        let next = GatewayId::generate();
        sqlx::query(statements::TAKE_LEASE)
            .bind(next.uuid())
            .bind(self.seconds)
            .execute(connection)
            .await?;
        self.steady.store(false, Ordering::Release);
        let mut gateway = self.gateway.lock();
        // Another lane may have been faster; either name is good, and the loser's lapses unused.
        if *gateway == known {
            tracing::error!(
                gateway.old = %known, gateway.new = %next,
                "lease.lost: declared dead by another gateway; going on under a new name"
            );
            *gateway = next;
        }
        Ok(())
    }

    /// Gives the lease up, so that nobody has to wait for it to lapse.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn leave(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let leave = sqlx::query(statements::LEAVE).bind(self.gateway().uuid());
        within(ANSWER_TIMEOUT, leave.execute(pool)).await?;
        Ok(())
    }

    /// Whether the last renewal failed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Whether this gateway has renewed for a whole lease without a gap.
    pub fn is_steady(&self) -> bool {
        self.steady.load(Ordering::Acquire)
    }
}

pub(super) async fn sweep(pool: &PgPool, lease: &Lease) -> Result<Swept, sqlx::Error> {
    let mut swept = Swept::default();
    if !lease.is_steady() {
        return Ok(swept);
    }
    let dead = sqlx::query(statements::DECLARE_DEAD)
        .bind(lease.gateway().uuid())
        .bind(lease.seconds)
        .fetch_all(pool)
        .await?;
    swept.gateways = dead.len() as u64;
    loop {
        let moved = sqlx::query(statements::EXPIRE).bind(SWEEP_BATCH).fetch_all(pool).await?;
        swept.reservations += moved.len() as u64;
        if moved.is_empty() {
            break;
        }
    }
    sqlx::query(statements::FORGET_DEAD).execute(pool).await?;
    Ok(swept)
}

pub(super) async fn stale_reservations(
    pool: &PgPool,
    lease: &Lease,
) -> Result<Vec<Stale>, sqlx::Error> {
    // Twice what a statement may take: by then every answer has arrived or never will.
    let age = (STATEMENT_TIMEOUT * 2).as_secs_f64();
    let rows = sqlx::query(statements::STALE_RESERVATIONS)
        .bind(lease.gateway().uuid())
        .bind(age)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Stale { id: ReservationId::from_uuid(row.try_get(0)?), budgets: row.try_get(1)? })
        })
        .collect()
}
