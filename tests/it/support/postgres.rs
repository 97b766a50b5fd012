//! A database of its own for every test: in the server of `TEST_DATABASE_URL`, or in a throw-away
//! cluster that this process starts once and that ends with it.

use std::str::FromStr;
use std::sync::OnceLock;

use rungate::storage::cluster::{Cluster, ClusterOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Where databases are made.
fn server() -> String {
    std::env::var("TEST_DATABASE_URL").unwrap_or_else(|_| {
        CLUSTER
            .get_or_init(|| {
                let folder = std::env::temp_dir().join(format!("rungate-it-{}", Uuid::new_v4()));
                cluster(&folder)
            })
            .url()
    })
}

/// A throw-away cluster in `folder`; it goes with the process.
pub fn cluster(folder: &std::path::Path) -> Cluster {
    Cluster::start(ClusterOptions {
        data_dir: folder.to_owned(),
        durable: false,
        settings: vec![("max_connections".into(), "400".into())],
        remove_on_stop: true,
    })
    .unwrap_or_else(|error| panic!("no Postgres for the tests: {error}"))
}

/// A fresh, migrated database.
pub async fn database() -> String {
    let server = server();
    let template = TEMPLATE
        .get_or_init(|| async {
            let name = format!("template_{}", Uuid::new_v4().simple());
            create(&server, &name, "template0").await;
            let options = rungate::ledger::postgres::connect_options(&with_name(&server, &name));
            rungate::ledger::postgres::migrate(&options.unwrap()).await.unwrap();
            name
        })
        .await;
    let name = format!("test_{}", Uuid::new_v4().simple());
    create(&server, &name, template).await;
    with_name(&server, &name)
}

/// A database without any table.
pub async fn empty_database() -> String {
    let (server, name) = (server(), format!("test_{}", Uuid::new_v4().simple()));
    create(&server, &name, "template0").await;
    with_name(&server, &name)
}

/// The same database as another role.
pub fn as_role(url: &str, role: &str) -> String {
    let (_, rest) = url.split_once('@').unwrap();
    format!("postgres://{role}@{rest}")
}

async fn create(server: &str, name: &str, template: &str) {
    let options = PgConnectOptions::from_str(server).unwrap();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The same server's URL for another database.
fn with_name(url: &str, name: &str) -> String {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (server, _) = address.rsplit_once('/').unwrap();
    if query.is_empty() { format!("{server}/{name}") } else { format!("{server}/{name}?{query}") }
}

/// A connection for looking into a database.
pub async fn connect(url: &str) -> PgConnection {
    PgConnection::connect_with(&PgConnectOptions::from_str(url).unwrap()).await.unwrap()
}

/// Runs statements whose answer does not matter.
pub async fn execute(connection: &mut PgConnection, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await.unwrap();
}

/// Waits until a statement in a database waits for a lock.
pub async fn until_somebody_waits(database: &str) {
    let mut onlooker = connect(database).await;
    let waits = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut onlooker).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
}
