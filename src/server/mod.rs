//! The composition root: builds everything, binds, runs, drains. The only place that knows
//! whether this is a developer's gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::{Catalog, CatalogError};
use crate::config::Config;
use crate::domain::id::RunId;
use crate::gateway::jwt::Jwt;
use crate::gateway::prices::Refresher;
use crate::gateway::retry::Retries;
use crate::gateway::{Gateway, Mode, OnCall, Parts, Policy};
use crate::jobs::reload::Watched;
use crate::ledger::memory::MemoryLedger;
use crate::ledger::postgres::{OpenError, PostgresLedger};
use crate::ledger::{Event, Ledger};
use crate::storage::cluster::{Cluster, ClusterError};
use crate::upstream::{AccessError, Client, Deadlines, NoRoots, Trust};
use crate::{jobs, telemetry};

pub mod access;
pub mod admin_token;
pub mod listeners;
mod door;
mod io;
mod socket;
mod tls;
pub mod private;
pub mod shutdown;

use admin_token::AdminToken;
pub use tls::TlsError;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The model catalogue is wrong.
    #[error("the model catalogue cannot be used: {0}")]
    Catalog(#[from] CatalogError),
    /// The model catalogue cannot be read.
    #[error("MODELS_FILE {path} cannot be read", path = .0.display())]
    CatalogFile(PathBuf, #[source] std::io::Error),
    /// An address cannot be bound.
    #[error("{setting} {address} cannot be listened on; is another gateway running?")]
    Bind {
        /// Which setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `dev` was told to listen for others.
    #[error("{0} is not loopback; set DEV_ALLOW_REMOTE=true if `dev` is to be reached")]
    NotLoopback(SocketAddr),
    /// A provider's settings cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The private Postgres did not start.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The operator's token cannot be kept.
    #[error("DATA_DIR ({0:?}) cannot keep the admin token; set ADMIN_TOKEN")]
    AdminToken(PathBuf, #[source] std::io::Error),
    /// The certificate of a listener, or what belongs to it, cannot be used.
    #[error("the TLS of a listener cannot be set up")]
    Tls(#[from] tls::TlsError),
    /// The keys of signed tokens cannot be read.
    #[error("JWT_JWKS_FILE cannot be used")]
    Jwks(#[source] std::io::Error),
    /// The TLS roots cannot be loaded.
    #[error("the HTTP client cannot be set up; are ca-certificates installed?")]
    Client(#[source] NoRoots),
    /// The simulated provider or a listener failed.
    #[error("a server could not be started")]
    Serve(#[source] std::io::Error),
    /// The metrics recorder failed.
    #[error("metrics cannot be recorded")]
    Metrics,
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] crate::domain::key::NoRandomness),
}

/// A gateway that runs.
pub struct Running {
    /// The use cases.
    pub gateway: Arc<Gateway>,
    /// Where the data plane is reached.
    pub data_addr: SocketAddr,
    /// Where the control plane is reached.
    pub admin_addr: SocketAddr,
    /// Where the generated admin token is kept, if it was generated.
    pub admin_token_file: Option<PathBuf>,
    notice: std::time::Duration,
    servers: Vec<ServerHandle>,
    serving: Vec<JoinHandle<std::io::Result<()>>>,
    postgres: Option<Arc<PostgresLedger>>,
    cluster: Option<Arc<Cluster>>,
    tasks: TaskTracker,
    jobs: TaskTracker,
    stop_jobs: CancellationToken,
    halt: CancellationToken,
}

/// What is built before anything listens.
struct Books {
    ledger: Arc<dyn Ledger>,
    postgres: Option<Arc<PostgresLedger>>,
    cluster: Option<Cluster>,
    events: mpsc::UnboundedSender<Event>,
    inbox: mpsc::UnboundedReceiver<Event>,
}

/// Builds and starts a gateway.
///
/// # Errors
/// If anything that it needs is missing; nothing is left running then.
pub async fn start(
    config: &Config,
    mode: Mode,
    on_call: Option<OnCall>,
) -> Result<Running, StartError> {
    stay_on_loopback(config, mode)?;
    raise_file_limit();
    let catalog = load_catalog(config)?;
    let metrics = telemetry::metrics().map_err(|_| StartError::Metrics)?;
    let data = listeners::bind("LISTEN_ADDR", config.listen_addr)?;
    let admin = listeners::bind("ADMIN_LISTEN_ADDR", config.admin_listen_addr)?;
    let mut secured = tls::Listeners::open(config)?;
    let simulator = listeners::simulator(config, mode)?;
    let access = access::of(config, mode, simulator.as_ref().map(|(address, _)| *address))?;
    let (tasks, jobs) = (TaskTracker::new(), TaskTracker::new());
    let token = operator_token(config, mode)?;
    let jwt = signed_tokens(config, mode, &mut secured.watched)?;
    let books = open_books(config, mode).await?;
    let halt = CancellationToken::new();
    let gateway = Gateway::new(Parts {
        mode,
        policy: policy(config),
        rates: Arc::new(config.rates.clone()),
        catalog,
        ledger: books.ledger,
        default_run: (mode == Mode::Dev).then(RunId::random),
        access,
        jwt: jwt.clone(),
        tenancy: access::tenancy(config, simulator.is_some()),
        tasks: tasks.clone(),
        main: tokio::runtime::Handle::current(),
        on_call,
        halt: halt.clone(),
    });
    let stop_jobs = CancellationToken::new();
    jobs::start(&gateway, books.inbox, &jobs, &stop_jobs);
    jobs::reload::start(secured.watched, &jobs, &stop_jobs);
    jobs::jwks::start(jwt.as_ref(), &jobs, &stop_jobs);
    if let Some(postgres) = &books.postgres {
        jobs::start_postgres(postgres, config, books.events, &jobs, &stop_jobs);
    }
    refresh_prices(config, &gateway, &jobs, &stop_jobs)?;
    let cluster = books.cluster.map(Arc::new);
    cluster.iter().for_each(|cluster| private::keep_running(cluster, &jobs, &stop_jobs));
    let data_addr = data.local_addr().map_err(StartError::Serve)?;
    let admin_addr = admin.local_addr().map_err(StartError::Serve)?;
    let planes = listeners::Planes::new(&gateway, config.budget_status, metrics);
    let mut started = vec![
        listeners::data_plane(data, config, &planes, secured.data)?,
        listeners::control_plane(admin, config, &planes, token.secret(), secured.admin)?,
    ];
    started.extend(simulator.map(|(_, server)| server));
    let servers = started.iter().map(actix_web::dev::Server::handle).collect();
    let serving = started.into_iter().map(tokio::spawn).collect();
    Ok(Running {
        gateway,
        data_addr,
        admin_addr,
        admin_token_file: token.file(),
        notice: config.shutdown_notice,
        servers,
        serving,
        postgres: books.postgres,
        cluster,
        tasks,
        jobs,
        stop_jobs,
        halt,
    })
}

/// Keeps the prices up to date, where they are wanted and real.
fn refresh_prices(
    config: &Config,
    gateway: &Arc<Gateway>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    let simulated = gateway.mode == Mode::Dev || config.simulate_providers;
    if simulated || config.price_refresh.is_zero() {
        return Ok(());
    }
    let trust = Trust::of_system().map_err(StartError::Client)?;
    let client = Client::new(trust, config.upstream_connect_timeout);
    let folder = config.data_dir.join("prices");
    let refresher = Refresher::new(gateway, client, config.price_refresh_factor, folder);
    jobs::start_prices(refresher, gateway, config.price_refresh, tasks, stop);
    Ok(())
}

/// A developer's gateway asks nobody who he is.
fn operator_token(config: &Config, mode: Mode) -> Result<AdminToken, StartError> {
    match mode {
        Mode::Dev => Ok(AdminToken::NotNeeded),
        Mode::Serve => admin_token::load(config),
    }
}

/// What tells good signed tokens from bad ones. A developer's gateway looks at none.
fn signed_tokens(
    config: &Config,
    mode: Mode,
    watched: &mut Vec<Watched>,
) -> Result<Option<Arc<Jwt>>, StartError> {
    let settings = config.jwt.as_ref().filter(|_| mode == Mode::Serve);
    let Some(jwt) = settings.map(|settings| Arc::new(Jwt::new(settings.clone()))) else {
        return Ok(None);
    };
    watched.extend(jobs::jwks::file(&jwt).map_err(StartError::Jwks)?);
    Ok(Some(jwt))
}

/// A developer's gateway has no credentials, so it is for this machine alone.
fn stay_on_loopback(config: &Config, mode: Mode) -> Result<(), StartError> {
    let allowed = mode == Mode::Serve || config.dev_allow_remote;
    [config.listen_addr, config.admin_listen_addr]
        .into_iter()
        .find(|address| !allowed && !address.ip().is_loopback())
        .map_or(Ok(()), |address| Err(StartError::NotLoopback(address)))
}

/// The one branch between a developer's gateway and the real one.
async fn open_books(config: &Config, mode: Mode) -> Result<Books, StartError> {
    let (events, inbox) = mpsc::unbounded_channel();
    if mode == Mode::Dev {
        let newcomers = Some(config.dev_cost_limit);
        let ledger = MemoryLedger::new(chrono::Utc::now, newcomers, events.clone());
        return Ok(Books { ledger, postgres: None, cluster: None, events, inbox });
    }
    let (url, cluster) = match &config.database_url {
        Some(url) => (url.clone(), None),
        None => {
            let cluster = private::start(config).await?;
            (SecretString::from(cluster.url()), Some(cluster))
        }
    };
    let url = secrecy::ExposeSecret::expose_secret(&url);
    let postgres = PostgresLedger::open(url, config.lease).await?;
    let ledger: Arc<dyn Ledger> = Arc::clone(&postgres) as Arc<dyn Ledger>;
    Ok(Books { ledger, postgres: Some(postgres), cluster, events, inbox })
}

/// The catalogue of `MODELS_FILE`, or the built-in one.
///
/// # Errors
/// If it cannot be read or used.
pub fn load_catalog(config: &Config) -> Result<Catalog, StartError> {
    let Some(path) = &config.models_file else { return Ok(Catalog::built_in()?) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| StartError::CatalogFile(path.clone(), error))?;
    Ok(Catalog::parse(&path.to_string_lossy(), &text)?)
}

fn policy(config: &Config) -> Policy {
    Policy {
        run_auth: config.run_auth,
        default_max_output: config.default_max_output,
        min_output: config.min_output,
        admission_wait: config.admission_wait,
        activation_wait: config.activation_wait,
        max_concurrency: config.max_concurrency_per_run,
        unknown_usage: config.unknown_usage,
        deadlines: Deadlines {
            connect: config.upstream_connect_timeout,
            whole: config.upstream_timeout,
            idle: config.upstream_idle_timeout,
        },
        max_response_bytes: config.max_response_bytes,
        retries: Retries { most: config.upstream_retries, within: config.upstream_retry },
        keep_alive: (!config.keep_alive.is_zero()).then_some(config.keep_alive),
    }
}

/// Every call holds two sockets, and the usual soft limit is 1,024 files.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "start.file_limit: could not be raised");
    }
}
