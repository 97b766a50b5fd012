//! Names and passwords of members.

use serde_json::json;

use super::stage::{PASSWORD, Stage, Who, operator};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_was_taken_out_is_refused_at_once_though_he_was_remembered() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[("ada", "viewer")]).await;
    let show = format!("GET /organizations/{}", tenant.id);
    let who = Who::Member("ada");
    for _ in 0..3 {
        assert_eq!(stage.ask(&who, &show, None).await.status, 200);
    }
    let members = format!("/organizations/{}/members", tenant.id);
    stage.operate(&format!("DELETE {members}/ada"), None, 200).await;
    assert_eq!(stage.ask(&who, &show, None).await.code(), "invalid_key");
    let again = json!({"name": "ada", "password": "hunter2-but-another", "role": "owner"});
    stage.operate(&format!("POST {members}"), Some(again), 201).await;
    assert_eq!(stage.ask(&who, &show, None).await.code(), "invalid_key");
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_slowed_down_and_others_are_not() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[("ada", "viewer")]).await;
    let show = format!("GET /organizations/{}", tenant.id);
    let guess = Who::Bearer("rg-orc-nobodys".to_owned());
    let orchestrator = Who::Bearer(tenant.orchestrator_secret.clone());
    let runs = "GET /runs";
    assert_eq!(stage.ask_from(200, &orchestrator, runs, None).await.status, 200);
    let guess_until_refused = async || {
        for _ in 0..30 {
            let answer = stage.ask_from(200, &guess, &show, None).await;
            if answer.status != 401 {
                return answer;
            }
        }
        panic!("it may be guessed for ever");
    };
    let refused = guess_until_refused().await;
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limited"));
    assert!(refused.header("retry-after").is_some());
    // A key that is known to be good is kept out by nobody.
    assert_eq!(stage.ask_from(200, &orchestrator, runs, None).await.status, 200);
    let member = Who::Member("ada");
    assert_eq!(stage.ask_from(200, &member, &show, None).await.status, 429);
    assert_eq!(stage.ask_from(201, &member, &show, None).await.status, 200);
    // Revoked it is good no more, and known no longer.
    let revoke = format!("/organizations/{}/orchestrator-keys/{}", tenant.id, tenant.orchestrator);
    stage.operate(&format!("DELETE {revoke}"), None, 200).await;
    assert_eq!(stage.ask_from(200, &orchestrator, runs, None).await.status, 401);
    guess_until_refused().await;
    assert_eq!(stage.ask_from(200, &orchestrator, runs, None).await.status, 429);
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_token_is_guessed_rarely_and_good_all_the_while() {
    let stage = Stage::new().await;
    let guess = Who::Bearer("not-the-operators".to_owned());
    let show = "GET /organizations/default";
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(stage.ask_from(200, &guess, show, None).await.status);
    }
    assert!(statuses[..20].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses[20..].contains(&429), "{statuses:?}");
    assert_eq!(stage.ask_from(200, &operator(), show, None).await.status, 200);
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_asks_many_things_at_once_is_not_taken_for_somebody_who_guesses() {
    let stage = Stage::new().await;
    let tenant = stage.tenant("lab", &[("ada", "viewer")]).await;
    let show = format!("GET /organizations/{}", tenant.id);
    let who = [Who::Member("ada"), Who::Bearer(tenant.orchestrator_secret.clone())];
    let asks = (0..80).map(|number| stage.ask(&who[number % 2], &show, None));
    let answers = futures_util::future::join_all(asks).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let expected: Vec<u16> = (0..80).map(|number| [200, 403][number % 2]).collect();
    assert_eq!(statuses, expected);
    stage.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_long_and_kept_as_a_slow_hash_alone() {
    let stage = Stage::new().await;
    let add = "POST /organizations/default/members";
    let short = json!({"name": "ada", "password": "hunter2", "role": "owner"});
    let answer = stage.operate(add, Some(short), 400).await;
    assert_eq!(answer["error"]["param"], "password");
    let member = json!({"name": "ada", "password": PASSWORD, "role": "owner"});
    stage.operate(add, Some(member.clone()), 201).await;
    assert_eq!(stage.operate(add, Some(member), 409).await["error"]["code"], "conflict");
    let mut database = crate::support::postgres::connect(&stage.database).await;
    let kept: String = sqlx::query_scalar("SELECT password_hash FROM organization_members")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
    stage.gateway.stop().await;
}
