//! What the gateway is held against: the least that a relay does with the same libraries.
//!
//! It passes the same bytes on and knows nothing about them. Its server and its client are set up
//! as the gateway's are.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Result;
use clap::Args;
use reqwest::Client;

const MAX_BODY_BYTES: usize = 64 << 20;
const BACKLOG: u32 = 4096;

#[derive(Debug, Args)]
pub(crate) struct RelayOptions {
    #[arg(long)]
    listen: SocketAddr,
    /// The base URL of where everything is sent
    #[arg(long)]
    upstream: String,
}

struct Worker {
    client: Client,
    /// Of chats, and of messages.
    upstreams: [reqwest::Url; 2],
}

/// Serves until the process is ended.
pub(crate) fn run(options: RelayOptions) -> Result<()> {
    let base = options.upstream.as_str();
    let upstreams = [
        reqwest::Url::parse(&format!("{base}/chat/completions"))?,
        reqwest::Url::parse(&format!("{base}/messages"))?,
    ];
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    actix_web::rt::System::new().block_on(async move {
        HttpServer::new(move || {
            let client = Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .tcp_nodelay(true)
                .pool_max_idle_per_host(256)
                .referer(false)
                .build()
                .expect("a client for each worker");
            let worker = Worker { client, upstreams: upstreams.clone() };
            App::new()
                .app_data(web::Data::new(worker))
                .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
                .route("/v1/chat/completions", web::post().to(chat))
                .route("/v1/messages", web::post().to(messages))
        })
        .workers(workers)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .keep_alive(Duration::from_secs(75))
        .client_request_timeout(Duration::from_secs(15))
        .shutdown_timeout(1)
        .backlog(BACKLOG)
        .bind(options.listen)?
        .run()
        .await
    })?;
    Ok(())
}

async fn chat(
    request: HttpRequest,
    worker: web::Data<Worker>,
    body: web::Bytes,
) -> Result<HttpResponse, actix_web::Error> {
    relay(&request, &worker.client, &worker.upstreams[0], body).await
}

async fn messages(
    request: HttpRequest,
    worker: web::Data<Worker>,
    body: web::Bytes,
) -> Result<HttpResponse, actix_web::Error> {
    relay(&request, &worker.client, &worker.upstreams[1], body).await
}

async fn relay(
    request: &HttpRequest,
    client: &Client,
    upstream: &reqwest::Url,
    body: web::Bytes,
) -> Result<HttpResponse, actix_web::Error> {
    let mut upstream = client.post(upstream.clone()).body(body);
    for name in [header::CONTENT_TYPE, header::AUTHORIZATION] {
        if let Some(value) = request.headers().get(&name) {
            upstream = upstream.header(name.as_str(), value.as_bytes());
        }
    }
    let answer = upstream.send().await.map_err(actix_web::error::ErrorBadGateway)?;
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    if let Some(value) = answer.headers().get("content-type") {
        response.insert_header((header::CONTENT_TYPE, value.as_bytes()));
    }
    let length = answer.content_length();
    let stream = answer.bytes_stream();
    Ok(match length {
        Some(length) => response.body(SizedStream::new(length, stream)),
        None => response.body(BodyStream::new(stream)),
    })
}
