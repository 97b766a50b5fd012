//! A gateway that asks for prices while it serves, over real HTTP.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rungate::catalog::Catalog;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::data_plane::stage::{Stage, ask_of, audit};
use crate::support::provider::response;

const MODEL: &str = "deepseek-ai/DeepSeek-V3-0324";
const ID: &str = "deepseek/deepseek-chat-v3-0324";

/// A provider that lists prices and answers calls, each as soon as it may.
struct PricedProvider {
    url: String,
    list: Arc<Mutex<String>>,
    calls: Arc<Semaphore>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl PricedProvider {
    async fn start(prompt: &str, completion: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let list = Arc::new(Mutex::new(Self::listed(prompt, completion, "0")));
        let provider = Self {
            url,
            list: Arc::clone(&list),
            calls: Arc::new(Semaphore::new(0)),
            seen: Arc::default(),
        };
        let (calls, seen) = (Arc::clone(&provider.calls), Arc::clone(&provider.seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (list, calls) = (Arc::clone(&list), Arc::clone(&calls));
                tokio::spawn(answer(stream, list, calls, Arc::clone(&seen)));
            }
        });
        provider
    }

    fn listed(prompt: &str, completion: &str, request: &str) -> String {
        let pricing = json!({"prompt": prompt, "completion": completion, "request": request});
        json!({"data": [{"id": ID, "context_length": 163_840, "pricing": pricing}]}).to_string()
    }

    fn tell(&self, prompt: &str, completion: &str, request: &str) {
        *self.list.lock() = Self::listed(prompt, completion, request);
    }
}

async fn answer(
    mut stream: TcpStream,
    list: Arc<Mutex<String>>,
    calls: Arc<Semaphore>,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let mut request = vec![0_u8; 64 << 10];
    let mut read = 0;
    while !request[..read].ends_with(b"\r\n\r\n") && !request[..read].ends_with(b"}") {
        match stream.read(&mut request[read..]).await {
            Ok(more) if more > 0 => read += more,
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request[..read]).into_owned();
    let body = if text.starts_with("GET /v1/models ") {
        list.lock().clone()
    } else {
        seen.lock().push(text);
        calls.acquire().await.unwrap().forget();
        json!({"model": ID, "choices": [], "usage": {
            "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        }})
        .to_string()
    };
    let _left = stream.write_all(response("200 OK", "application/json", &body).as_bytes()).await;
}

async fn before(provider: &PricedProvider, folder: &tempfile::TempDir) -> Stage {
    Stage::simulated(&[
        ("SIMULATE_PROVIDERS", "false"),
        ("OPENROUTER_BASE_URL", &provider.url),
        ("OPENROUTER_API_KEY", "sk-openrouter-0123456789"),
        ("PRICE_REFRESH_SECONDS", "1"),
        ("DATA_DIR", folder.path().to_str().unwrap()),
    ])
    .await
}

/// The catalogue's row of the model, and the price version, as the control plane tells them.
async fn shown(stage: &Stage) -> (Option<Value>, String) {
    let request = stage.client().operator(reqwest::Method::GET, "/models?provider=openrouter");
    let list: Value = request.send().await.unwrap().json().await.unwrap();
    let row = list["data"].as_array().unwrap().first().cloned();
    (row, list["price_version"].as_str().unwrap().to_owned())
}

/// Waits until the model has this price of input, or is gone.
async fn until(stage: &Stage, input: Option<&str>) -> String {
    for _ in 0..600 {
        let (row, version) = shown(stage).await;
        let price = row.as_ref().and_then(|row| row["input_usd_per_million"].as_str());
        if price == input {
            return version;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the price never was {input:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_settled_on_the_prices_that_it_was_admitted_on() {
    let provider = PricedProvider::start("0.0000005", "0.000001").await;
    let folder = tempfile::tempdir().unwrap();
    let stage = before(&provider, &folder).await;
    let first = until(&stage, Some("0.5")).await;
    let run = stage.run(json!({})).await;

    let client = stage.client();
    let under_way = async {
        let body = ask_of(&format!("openrouter/{MODEL}"), "hi");
        client.ask(&run, &body).await
    };
    let meanwhile = async {
        while provider.seen.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        provider.tell("0.0000006", "0.000002", "0");
        let second = until(&stage, Some("0.6")).await;
        provider.calls.add_permits(2);
        second
    };
    let (answer, second) = tokio::join!(under_way, meanwhile);
    assert_eq!(answer.status, 200, "{answer:?}");
    let later = client.ask(&run, &ask_of(&format!("openrouter/{MODEL}"), "hi")).await;
    assert_eq!(later.status, 200, "{later:?}");
    client.settled(&run).await;

    let calls = client.calls(&run).await;
    let booked: Vec<(&str, &str)> = calls
        .iter()
        .map(|call| (call["cost_usd"].as_str().unwrap(), call["price_version"].as_str().unwrap()))
        .collect();
    // 1000 x 0.5 + 100 x 1 and 1000 x 0.6 + 100 x 2 millionths.
    assert_eq!(booked, [("0.0006", first.as_str()), ("0.0008", second.as_str())]);
    assert_ne!(first, second);

    // Whoever reads a version later finds its prices under its name.
    for (version, input) in [(first, "0.5"), (second, "0.6")] {
        let path = folder.path().join(format!("prices/{version}.toml"));
        let catalog = Catalog::parse("kept", &std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(catalog.version(), version);
        let target = catalog.resolve(&format!("openrouter/{MODEL}"), |_| true).unwrap();
        assert_eq!(target.prices.base.input.decimal().to_string(), input);
    }
    let database = stage.database.clone();
    stage.end().await;
    audit(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_not_served_while_it_has_a_price_that_nobody_is_charged_by() {
    let provider = PricedProvider::start("0.0000005", "0.000001").await;
    provider.calls.add_permits(8);
    let folder = tempfile::tempdir().unwrap();
    let stage = before(&provider, &folder).await;
    let run = stage.run(json!({})).await;
    let ask = ask_of(&format!("openrouter/{MODEL}"), "hi");
    until(&stage, Some("0.5")).await;
    assert_eq!(stage.client().ask(&run, &ask).await.status, 200);

    provider.tell("0.0000005", "0.000001", "0.01");
    until(&stage, None).await;
    let refused = stage.client().ask(&run, &ask).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_model"));
    assert_eq!(provider.seen.lock().len(), 1);

    provider.tell("0.0000005", "0.000001", "0");
    until(&stage, Some("0.5")).await;
    assert_eq!(stage.client().ask(&run, &ask).await.status, 200);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_refused_or_broken_leaves_the_prices_and_the_version() {
    let provider = PricedProvider::start("0.0000005", "0.000001").await;
    let folder = tempfile::tempdir().unwrap();
    let stage = before(&provider, &folder).await;
    let version = until(&stage, Some("0.5")).await;
    // The last answer shows that those before it were read.
    for list in [PricedProvider::listed("0.5", "1", "0"), "<html>".into(), "{\"data\":[]}".into()] {
        *provider.list.lock() = list;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(shown(&stage).await.1, version);
    }
    provider.tell("0.0000006", "0.000001", "0");
    assert_ne!(until(&stage, Some("0.6")).await, version);
    stage.end().await;
}
