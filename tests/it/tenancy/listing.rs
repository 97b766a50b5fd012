//! Lists of runs, page by page.

use serde_json::{Value, json};

use super::stage::{NOTHING, Stage, Who};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_after_anothers_run_is_as_empty_as_one_after_none() {
    let stage = Stage::new().await;
    let (lab, shop) = (stage.tenant("lab", &[]).await, stage.tenant("shop", &[]).await);
    let later = json!({"organization_id": lab.id, "cost_limit_usd": "1"});
    let later = stage.operate("POST /runs", Some(later), 201).await;
    let own = Who::Bearer(lab.orchestrator_secret.clone());
    let after = async |id: &str| {
        let page = stage.ask(&own, &format!("GET /runs?after={id}"), None).await.json();
        let runs = page["data"].as_array().unwrap().iter();
        runs.map(|run| run["id"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(after(&lab.run).await, [later["id"].clone()]);
    assert_eq!(after(&shop.run).await, after(NOTHING).await);
    assert_eq!(after(NOTHING).await, Vec::<Value>::new());
    stage.gateway.stop().await;
}
