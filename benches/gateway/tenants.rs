//! Gateways with organizations, keys and runs in their tables, few of them or many.
//!
//! The rows are made in the database itself, as the ledger's own statements would have made them;
//! a million registrations would take too long. `rungate ledger check` looks at them in the end.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rungate::ledger::postgres::connect_options;
use sqlx::{Connection as _, PgConnection};

use crate::contenders::{Credential, Kind, Payer, Provider, Rows, Serve, Target};

/// Organizations that are called for, the one of which all is asked not among them.
const ORGANIZATIONS: i32 = 100;
/// Runs of each of them that calls are made for.
const RUNS_EACH: i32 = 10;
/// Runs of the default organization, and of the one of which all is asked.
const RUNS: i32 = 1_000;
/// Keys of that one.
const KEYS: i32 = 100;
/// One of so many organizations has runs that are called for although they lie scattered.
const SCATTERED: i32 = 10;

/// Ids as the ledger makes them, of version 7: in the order of time, here of numbers.
const MAKE_IDS: &str = "CREATE FUNCTION pg_temp.made(nr bigint) RETURNS uuid LANGUAGE sql AS $$ \
    SELECT (lpad(to_hex(1700000000000 + nr), 12, '0') || '7' || substr(md5(nr::text), 1, 3) \
        || '8' || substr(md5(nr::text), 4, 15))::uuid $$";
/// Organizations of numbers from 1 on, with settings.
const FILL_ORGANIZATIONS: &str = "INSERT INTO organizations (id, name) \
    SELECT pg_temp.made(o), 'benchmark ' || o FROM generate_series(1, $1) o";
const FILL_SETTINGS: &str = "INSERT INTO organization_settings (organization_id) \
    SELECT pg_temp.made(o) FROM generate_series(1, $1) o";
/// Their circuits: what they may spend in a month.
const FILL_CIRCUITS: &str = "INSERT INTO budgets \
        (organization_id, id, scope, scope_id, unit, \"window\", limit_amount) \
    SELECT s.organization_id, pg_temp.made(row_number() OVER (ORDER BY s.organization_id)), \
        'organization', s.organization_id, 'usd', 'month', 1000000000 \
    FROM organization_settings s";
/// Keys of numbers from 1 on, `$2` for each organization, and more for the first.
const FILL_KEYS: &str = "INSERT INTO inference_keys \
        (organization_id, id, name, secret_hash, prefix) \
    SELECT pg_temp.made(o), pg_temp.made(1000 * o + n), 'key ' || n, \
        sha256(convert_to(format('rg-key-%s-%s', o, n), 'UTF8')), left(format('rg-key-%s', o), 11) \
    FROM generate_series(1, $1) o, generate_series(1, CASE o WHEN 1 THEN $3 ELSE $2 END) n";
/// The tokens of which each key may use some in a month.
const FILL_KEY_BUDGETS: &str = "INSERT INTO budgets \
        (organization_id, id, scope, scope_id, unit, \"window\", limit_amount) \
    SELECT k.organization_id, pg_temp.made(1000000 + row_number() OVER (ORDER BY k.id)), 'key', \
        k.id, 'tokens', 'month', 1000000000000000 FROM inference_keys k";
/// The current months of all of them.
const FILL_MONTHS: &str = "SELECT count(ledger_open_window(b.id)) FROM budgets b \
    WHERE b.\"window\" = 'month' AND b.window_start = '-infinity'";
/// Runs with a cap in dollars: of numbers from 1 on, in an order that has nothing to do with whose
/// they are, and last of all those that calls are made for: `$6` of each of `$5` organizations, and
/// all of those that have more. The organization of number 0 is the default one. `$4`: those of
/// even numbers, or odd.
const FILL_RUNS: &str = "WITH named AS (SELECT o, n, md5(format('run/%s/%s', o, n))::uuid AS id, \
            o < 2 OR o < 2 + $5 AND n <= $6 AS called \
        FROM generate_series(0, $1) o, generate_series(1, CASE WHEN o < 2 THEN $3 ELSE $2 END) n \
        WHERE n % 2 = $4), \
    ordered AS (SELECT o, n, id, row_number() OVER (ORDER BY called, id) AS nr, \
            CASE o WHEN 0 THEN '00000000-0000-0000-0000-000000000001' \
                ELSE pg_temp.made(o) END AS organization_id FROM named), \
    registered AS (INSERT INTO runs (organization_id, id, state, token_hash, on_cap, \
            require_token, metadata, fingerprint) \
        SELECT organization_id, id, 'running', \
            sha256(convert_to(format('rg-run-%s-%s', o, n), 'UTF8')), 'clamp', false, '{}', \
            sha256(convert_to(format('%s/%s', o, n), 'UTF8')) \
        FROM ordered ORDER BY nr) \
    INSERT INTO budgets (organization_id, id, scope, scope_id, unit, \"window\", limit_amount) \
    SELECT organization_id, pg_temp.made(2000000 + 2 * nr + $4), 'run', id, 'usd', 'lifetime', \
        1000000 FROM ordered ORDER BY nr";
/// Keys, and runs that they call for: those of numbers after `$5` of every `$6`th organization.
const RUN_IDS: &str = "SELECT format('rg-key-%s-%s', o, 1 + (n - 1) % $3), \
        md5(format('run/%s/%s', o, n))::uuid::text \
    FROM generate_series($1, $2, $6) o, generate_series($5 + 1, $5 + $4) n ORDER BY n, o";

/// How many there are of what.
#[derive(Clone, Copy)]
struct Counts {
    organizations: i32,
    /// Of each organization, but the first.
    keys: i32,
    /// Of each organization, but the default one and the first.
    runs: i32,
}

impl Rows {
    const fn counts(self) -> Counts {
        match self {
            Self::Few => Counts { organizations: ORGANIZATIONS + 1, keys: 1, runs: RUNS_EACH },
            Self::Many => Counts { organizations: 1_000, keys: 100, runs: 1_000 },
        }
    }
}

/// Two gateways, each with its own Postgres.
pub(crate) struct Tenants {
    few: Serve,
    many: Serve,
    targets: Vec<Target>,
}

impl Tenants {
    pub(crate) async fn start(folder: &Path, provider: &Provider) -> Result<Self> {
        let start = async |name, rows| {
            let folder = folder.join(name);
            std::fs::create_dir(&folder)?;
            let serve = Serve::start(&folder, provider).await?;
            let filled = fill(&serve.database, rows).await;
            filled.with_context(|| serve.process.complaints())?;
            anyhow::Ok(serve)
        };
        let (few, many) = (start("few", Rows::Few).await?, start("many", Rows::Many).await?);
        let mut targets = Vec::new();
        for (serve, rows) in [(&few, Rows::Few), (&many, Rows::Many)] {
            for kind in Kind::PAID {
                let Kind::Paid(payer, _) = kind else { continue };
                if kind != Kind::Paid(payer, rows) {
                    continue;
                }
                let credentials = credentials(&serve.database, payer).await?;
                let database = Some(serve.database.clone());
                targets.push(Target { kind, credentials, database, ..serve.target.clone() });
            }
        }
        // Those that are held against each other, one after the other.
        targets.sort_by_key(|target| target.kind);
        Ok(Self { few, many, targets })
    }

    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// `rungate ledger check` on both.
    pub(crate) async fn check(&self, folder: &Path) -> Result<()> {
        for serve in [&self.few, &self.many] {
            eprintln!("{}", serve.check(folder).await?);
        }
        Ok(())
    }

    pub(crate) fn complaints(&self) -> String {
        [&self.few, &self.many].map(|serve| serve.process.complaints()).concat() + "not measured"
    }
}

/// Fills the tables of a database, in which there is only what a gateway begins with.
async fn fill(database: &str, rows: Rows) -> Result<()> {
    let began = Instant::now();
    let Counts { organizations, keys, runs } = rows.counts();
    let mut connection = connect(database).await?;
    for statement in [FILL_ORGANIZATIONS, FILL_SETTINGS] {
        sqlx::query(statement).bind(organizations).execute(&mut connection).await?;
    }
    let keys = sqlx::query(FILL_KEYS).bind(organizations).bind(keys).bind(KEYS);
    keys.execute(&mut connection).await.context(FILL_KEYS)?;
    let runs = async |remainder: i32| {
        let mut connection = connect(database).await?;
        let runs = sqlx::query(FILL_RUNS).bind(organizations).bind(runs).bind(RUNS).bind(remainder);
        let runs = runs.bind(ORGANIZATIONS).bind(RUNS_EACH);
        runs.execute(&mut connection).await.context(FILL_RUNS)?;
        anyhow::Ok(connection.close().await?)
    };
    tokio::try_join!(runs(0), runs(1))?;
    let of_all = [FILL_CIRCUITS, FILL_KEY_BUDGETS, FILL_MONTHS, "VACUUM ANALYZE", "CHECKPOINT"];
    for statement in of_all {
        sqlx::query(statement).execute(&mut connection).await.context(statement)?;
    }
    let size = "SELECT pg_database_size(current_database())::float8 / 1e6";
    let size: f64 = sqlx::query_scalar(size).fetch_one(&mut connection).await?;
    connection.close().await?;
    let seconds = began.elapsed().as_secs();
    eprintln!("filled the tables in {seconds} s: {organizations} organizations, {size:.0} MB");
    Ok(())
}

/// A session whose rows refer to rows that are known to be there, and are not booked one by one in
/// the audit log, which no call looks at: triggers would take most of the time.
async fn connect(database: &str) -> Result<PgConnection> {
    let mut connection = PgConnection::connect_with(&connect_options(database)?).await?;
    let patient = "SET statement_timeout = 0";
    for setting in [patient, "SET session_replication_role = replica", MAKE_IDS] {
        sqlx::query(setting).execute(&mut connection).await?;
    }
    Ok(connection)
}

/// As whom calls are made for whose budgets.
async fn credentials(database: &str, payer: Payer) -> Result<Vec<Credential>> {
    let (from, to, keys, runs) = match payer {
        Payer::Run => return Ok((1..=RUNS).map(|run| format!("rg-run-0-{run}").into()).collect()),
        Payer::Organizations => (2, ORGANIZATIONS + 1, 1, RUNS_EACH),
        Payer::Scattered => (2, 1 + ORGANIZATIONS * SCATTERED, 1, RUNS_EACH),
        Payer::OneOrganization => (1, 1, KEYS, RUNS),
    };
    let (after, every) = match payer {
        Payer::Scattered => (RUNS_EACH, SCATTERED),
        _ => (0, 1),
    };
    let mut connection = PgConnection::connect_with(&connect_options(database)?).await?;
    let asked = sqlx::query_as(RUN_IDS).bind(from).bind(to).bind(keys).bind(runs);
    let asked = asked.bind(after).bind(every);
    let found: Vec<(String, String)> = asked.fetch_all(&mut connection).await?;
    connection.close().await?;
    if found.len() != crate::contenders::RUNS {
        bail!("{} runs instead of {}", found.len(), crate::contenders::RUNS);
    }
    Ok(found.into_iter().map(|(bearer, run)| Credential { bearer, run: Some(run) }).collect())
}
