//! The simulated provider: a server that speaks OpenAI's chat completions and embeddings, and
//! invents its answers.
//!
//! An answer depends on the model, the raw bytes of the messages and the seed, and on nothing
//! else: the same request gets the same id, text, chunks and usage on any machine. Usage is true:
//! prompts are counted with the model's vocabulary, and answers are built of pieces that are one
//! token each. What goes wrong, and when, is asked for in the request ([`directive`]).
//!
//! It does not know the gateway, runs, budgets or prices; it checks no credential and keeps
//! nothing between requests but a small cache of prompt counts.

pub mod directive;
mod embed;
mod count;
mod fault;
mod plan;
mod prompt;
mod reply;
mod request;
mod stream;
mod tool;
mod translated;
mod wire;
mod words;

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::http::{KeepAlive, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use self::directive::{Directives, Stall};
use self::plan::{Plan, Refusal};
use self::prompt::Counts;
use self::translated::Foreign;

/// The largest request body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// The request header that carries a directive, as an alternative to the last user message.
pub const DIRECTIVE_HEADER: &str = "x-simulate";

const IDLE_CONNECTION: Duration = Duration::from_secs(300);
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_GRACE_SECONDS: u64 = 1;
const GARBAGE: &str = "<<< this is not JSON >>>";
const MODELS: [&str; 8] = [
    "gpt-5",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4",
    "gpt-3.5-turbo",
    "o4-mini",
];

/// How a simulated provider answers when a request does not say otherwise.
#[derive(Clone, Debug, Default)]
pub struct SimulatorOptions {
    /// Stands in for the `seed` of requests that have none.
    pub seed: u64,
    /// Waited before the head of every answer.
    pub first_byte_delay: Duration,
    /// Waited between the events of a streamed answer; zero writes each as soon as it can be.
    pub chunk_delay: Duration,
}

/// What one worker thread keeps.
struct Worker {
    options: SimulatorOptions,
    counts: RefCell<Counts>,
}

/// Mounts `POST /v1/chat/completions`, `POST /v1/messages` and its `/count_tokens`,
/// `POST /v1/responses`, `POST /v1/embeddings`, `GET /v1/models` and `GET /healthz`.
///
/// Call the result once in each worker, as `App::configure` does: the cache it makes is not shared.
pub fn configure(
    options: SimulatorOptions,
) -> impl FnOnce(&mut web::ServiceConfig) + Clone + Send + 'static {
    move |config| {
        let worker = Worker { options, counts: RefCell::new(Counts::new()) };
        config
            .app_data(web::Data::new(worker))
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .route("/v1/chat/completions", web::post().to(chat))
            .route("/v1/messages", web::post().to(messages))
            .route("/v1/messages/count_tokens", web::post().to(count_tokens))
            .route("/v1/responses", web::post().to(responses))
            .route("/v1/embeddings", web::post().to(embeddings))
            .route("/v1/models", web::get().to(models))
            .route("/healthz", web::get().to(health));
    }
}

/// Serves the simulated provider on `listener`, with `workers` threads, until the returned server
/// is stopped; the caller awaits it. Call it inside a tokio runtime.
///
/// # Errors
/// When the listener cannot be prepared for use.
pub fn start(
    listener: TcpListener,
    options: SimulatorOptions,
    workers: usize,
) -> io::Result<Server> {
    let server = HttpServer::new(move || App::new().configure(configure(options.clone())))
        .workers(workers.max(1))
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .keep_alive(KeepAlive::Timeout(IDLE_CONNECTION))
        .client_request_timeout(HEAD_TIMEOUT)
        .shutdown_timeout(STOP_GRACE_SECONDS)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

async fn health() -> HttpResponse {
    json(StatusCode::OK, "{\"status\":\"ok\"}".to_owned())
}

async fn models() -> HttpResponse {
    json(StatusCode::OK, wire::models(&MODELS))
}

async fn chat(
    http: HttpRequest,
    worker: web::Data<Worker>,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    serve(&http, &worker, received(body), None).await
}

async fn messages(
    http: HttpRequest,
    worker: web::Data<Worker>,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    let chat = received(body).and_then(|body| Foreign::Messages.chat(&body));
    serve(&http, &worker, chat, Some(Foreign::Messages)).await
}

async fn responses(
    http: HttpRequest,
    worker: web::Data<Worker>,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    let chat = received(body).and_then(|body| Foreign::Responses.chat(&body));
    serve(&http, &worker, chat, Some(Foreign::Responses)).await
}

async fn serve(
    http: &HttpRequest,
    worker: &Worker,
    body: Result<web::Bytes, Refusal>,
    foreign: Option<Foreign>,
) -> HttpResponse {
    let plan = match plan(http, worker, body) {
        Ok(plan) => plan,
        Err(refusal) => return refused(&refusal),
    };
    if !plan.first_byte_delay.is_zero() {
        tokio::time::sleep(plan.first_byte_delay).await;
    }
    if plan.directives.stall == Some(Stall::Head) {
        std::future::pending::<()>().await;
    }
    answer(plan, foreign)
}

async fn count_tokens(
    http: HttpRequest,
    worker: web::Data<Worker>,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    let counted = received(body).and_then(|body| {
        count::make(&body, directive_header(&http)?, &mut worker.counts.borrow_mut())
    });
    let counted = match counted {
        Ok(counted) => counted,
        Err(refusal) => return refused(&refusal),
    };
    wait(&worker, &counted.directives).await;
    let body = String::from_utf8(counted.body).unwrap_or_default();
    in_one_piece(body, &counted.directives)
}

async fn embeddings(
    http: HttpRequest,
    worker: web::Data<Worker>,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    let made = received(body).and_then(|body| embed::make(&body, directive_header(&http)?));
    let embedded = match made {
        Ok(embedded) => embedded,
        Err(refusal) => return refused(&refusal),
    };
    wait(&worker, &embedded.directives).await;
    in_one_piece(embedded.body, &embedded.directives)
}

/// Waits before an answer's head for as long as was asked.
async fn wait(worker: &Worker, directives: &Directives) {
    let usual = worker.options.first_byte_delay;
    let delay = directives.delay_ms.map_or(usual, Duration::from_millis);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if directives.stall == Some(Stall::Head) {
        std::future::pending::<()>().await;
    }
}

/// An answer that cannot be streamed, or what was asked for instead.
fn in_one_piece(body: String, directives: &Directives) -> HttpResponse {
    if let Some(status) = directives.failure() {
        return failed(status, directives);
    }
    if directives.garbage {
        return json(StatusCode::OK, GARBAGE.to_owned());
    }
    if directives.cut.is_some() || directives.stall == Some(Stall::Body) {
        let body = stream::HalfBody::new(body.into(), directives.cut.is_none());
        return HttpResponse::Ok().content_type("application/json").body(body);
    }
    json(StatusCode::OK, body)
}

fn plan(
    http: &HttpRequest,
    worker: &Worker,
    body: Result<web::Bytes, Refusal>,
) -> Result<Plan, Refusal> {
    let body = body?;
    let header = directive_header(http)?;
    plan::make(&body, header, &worker.options, &mut worker.counts.borrow_mut())
}

fn received(body: Result<web::Bytes, actix_web::Error>) -> Result<web::Bytes, Refusal> {
    body.map_err(|error| Refusal {
        status: error.as_response_error().status_code().as_u16(),
        code: "invalid_body",
        param: None,
        message: format!("The body could not be read: {error}."),
    })
}

fn directive_header(http: &HttpRequest) -> Result<Option<&str>, Refusal> {
    let Some(value) = http.headers().get(DIRECTIVE_HEADER) else { return Ok(None) };
    let plain = value.to_str().map_err(|_| {
        Refusal::bad_directive(format!("The header {DIRECTIVE_HEADER} is not plain ASCII."))
    });
    plain.map(Some)
}

fn answer(plan: Plan, foreign: Option<Foreign>) -> HttpResponse {
    let directives = &plan.directives;
    if let Some(status) = directives.failure() {
        return failed(status, directives);
    }
    if plan.stream {
        let mut response = HttpResponse::Ok();
        response
            .content_type("text/event-stream; charset=utf-8")
            .insert_header((CACHE_CONTROL, "no-cache"));
        let events = stream::EventStream::new(plan);
        return match foreign {
            Some(foreign) => response.body(foreign.stream(events)),
            None => response.body(events),
        };
    }
    if directives.garbage {
        return json(StatusCode::OK, GARBAGE.to_owned());
    }
    if directives.endless {
        return HttpResponse::Ok()
            .content_type("application/json")
            .body(stream::EndlessBody::new(&plan.reply));
    }
    let broken = directives.cut.is_some() || directives.stall == Some(Stall::Body);
    let stalls = directives.cut.is_none();
    let chat = wire::completion(plan.reply);
    let foreign = foreign.and_then(|foreign| foreign.answer(&chat));
    let body = foreign.and_then(|body| String::from_utf8(body).ok()).unwrap_or(chat);
    if broken {
        return HttpResponse::Ok()
            .content_type("application/json")
            .body(stream::HalfBody::new(body.into(), stalls));
    }
    json(StatusCode::OK, body)
}

/// An answer to a request that asked for a failure.
fn failed(status: u16, directives: &Directives) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(after) = &directives.retry_after {
        response.insert_header((RETRY_AFTER, after.as_str()));
    }
    let echo = directives.echo.as_deref();
    if directives.html {
        let body = fault::html(status.as_u16(), echo);
        return response.content_type("text/html").body(body);
    }
    let body = fault::failure(status.as_u16(), echo);
    response.content_type("application/json").body(body)
}

/// An answer to a request that the simulated provider cannot serve.
fn refused(refusal: &Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    json(status, fault::refusal(refusal))
}

fn json(status: StatusCode, body: String) -> HttpResponse {
    HttpResponse::build(status).content_type("application/json").body(body)
}

#[cfg(test)]
mod tests;
