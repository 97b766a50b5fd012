//! Every endpoint of the control plane, with every id of somebody else, by every credential.
//!
//! The endpoints come from the document of the gateway, which is written from what is mounted: one
//! that is not in the table below fails, and so does a row without an endpoint.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::stage::{NOTHING, Stage, Tenant, Who, operator};
use crate::support::client::Answer;

/// A body for each operation, and whether it is about a thing in an organization.
fn rows() -> Vec<(&'static str, Option<Value>)> {
    let member = json!({"name": "eve", "password": "hunter2-hunter2", "role": "owner"});
    vec![
        ("createRuns", Some(json!({"cost_limit_usd": "1"}))),
        ("listRuns", None),
        ("showRun", None),
        ("changeRun", Some(json!({"metadata": {"a": 1}}))),
        ("closeRun", Some(json!({"wait_seconds": 0}))),
        ("openAttempt", Some(json!({"status": "running"}))),
        ("rotateToken", None),
        ("runUsage", None),
        ("runCalls", None),
        ("listModels", None),
        ("usage", None),
        ("metrics", None),
        ("openapi", None),
        ("createOrganization", Some(json!({"name": "third"}))),
        ("listOrganizations", None),
        ("showOrganization", None),
        ("showSettings", None),
        ("putSettings", Some(json!({"eu_only": true}))),
        ("showCredits", None),
        ("addCredit", Some(json!({"amount_usd": "1"}))),
        ("organizationAudit", None),
        ("audit", None),
        ("mintKey", Some(json!({"name": "x", "monthly_token_limit": 1}))),
        ("listKeys", None),
        ("showKey", None),
        ("changeKey", Some(json!({"rate_limit_rpm": 1}))),
        ("suspendKey", None),
        ("resumeKey", None),
        ("rotateKey", None),
        ("revokeKey", None),
        ("mintOrchestratorKey", Some(json!({"name": "x"}))),
        ("listOrchestratorKeys", None),
        ("revokeOrchestratorKey", None),
        ("addMember", Some(member)),
        ("listMembers", None),
        ("removeMember", None),
        ("organizationUsage", None),
        ("listProviders", None),
        ("putProvider", Some(json!({"provider": "openai", "api_key": "sentinel"}))),
        ("deleteProvider", None),
    ]
}

/// One endpoint, as the gateway describes it.
struct Operation {
    id: String,
    method: String,
    path: String,
    /// The ways that it takes, with the roles of members that suffice.
    ways: Vec<(String, Vec<String>)>,
    body: Option<Value>,
}

impl Operation {
    fn takes(&self, way: &str) -> bool {
        self.ways.iter().any(|(known, _)| known == way)
    }

    fn takes_role(&self, role: &str) -> bool {
        let mut roles = self.ways.iter().filter(|(way, _)| way == "member");
        roles.any(|(_, roles)| roles.iter().any(|known| known == role))
    }

    fn names(&self, part: &str) -> bool {
        self.path.contains(&format!("{{{part}}}"))
    }

    /// The request for one thing in one organization.
    fn at(&self, organization: &str, thing: &str) -> String {
        let path = self.path.replace("{org}", organization).replace("{provider}", thing);
        let path = path.replace("{id}", thing).replace("{key}", thing).replace("{name}", thing);
        format!("{} {path}", self.method)
    }

    /// What of a tenant's it is about, where it is about something.
    fn thing<'a>(&self, tenant: &'a Tenant) -> &'a str {
        match () {
            () if self.names("id") => &tenant.run,
            () if self.path.contains("/orchestrator-keys/") => &tenant.orchestrator,
            () if self.names("key") => &tenant.key,
            () if self.names("provider") => "openai",
            () => "spare",
        }
    }

    fn is_about_a_thing(&self) -> bool {
        ["id", "key", "name"].iter().any(|part| self.names(part))
    }
}

async fn operations(stage: &Stage) -> Vec<Operation> {
    let document = stage.operate("GET /openapi.json", None, 200).await;
    let mut rows: Vec<_> = rows();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            if security.is_empty() {
                assert!(path == "/healthz" || path == "/readyz", "{path} asks for no credential");
                continue;
            }
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let row = rows.iter().position(|(known, _)| *known == id);
            let row = row.unwrap_or_else(|| panic!("{id} is not in the table of this test"));
            let ways =
                security.iter().flat_map(|way| way.as_object().unwrap()).map(|(way, roles)| {
                    let roles = roles.as_array().unwrap().iter();
                    (way.clone(), roles.map(|role| role.as_str().unwrap().to_owned()).collect())
                });
            found.push(Operation {
                ways: ways.collect(),
                method: method.to_ascii_uppercase(),
                path: path.clone(),
                body: rows.swap_remove(row).1,
                id,
            });
        }
    }
    assert!(rows.is_empty(), "no endpoint has {rows:?}");
    found
}

/// What is the same of two answers that tell nothing apart.
fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_is_good_for_more_than_it_should_be() {
    let stage = Stage::new().await;
    let people = [("anna", "owner"), ("adam", "admin"), ("ada", "viewer"), ("spare", "viewer")];
    let a = stage.tenant("first", &people).await;
    let b = stage.tenant("second", &[("spare", "viewer")]).await;
    let operations = operations(&stage).await;
    let before = everything(&stage, &b).await;

    for (at, operation) in operations.iter().enumerate() {
        // From an address of its own, as guesses are counted.
        let from = u8::try_from(100 + at).unwrap();
        bad_credentials_are_all_alike(&stage, operation, [&a, &b], from).await;
        an_orchestrator_knows_its_runs_alone(&stage, operation, [&a, &b]).await;
        members_do_what_their_roles_allow(&stage, operation, [&a, &b]).await;
    }
    for (at, operation) in operations.iter().enumerate() {
        a_member_is_nobody_elsewhere(&stage, operation, &b, u8::try_from(at).unwrap()).await;
        things_are_found_in_their_own_organization(&stage, operation, [&a, &b]).await;
    }
    assert_eq!(everything(&stage, &b).await, before, "somebody changed what is another's");

    // What is allowed works, and last what cannot be undone.
    let (last, first): (Vec<_>, Vec<_>) = operations.iter().partition(|one| one.method == "DELETE");
    for operation in first.into_iter().chain(last) {
        let what = operation.at(&a.id, operation.thing(&a));
        let answer = stage.ask(&operator(), &what, operation.body.as_ref()).await;
        // What was made or ended above is made or ended already.
        assert!(answer.status < 300 || answer.status == 409, "{what}: {}", answer.text);
    }
    stage.gateway.stop().await;
}

/// What there is of an organization.
async fn everything(stage: &Stage, of: &Tenant) -> Vec<Value> {
    let mut found = Vec::new();
    for what in ["", "/inference/settings", "/inference/keys", "/credits", "/members", "/audit"] {
        let what = format!("GET /organizations/{}{what}", of.id);
        found.push(stage.operate(&what, None, 200).await);
    }
    found.push(stage.operate(&format!("GET /runs/{}", of.run), None, 200).await);
    found
}

async fn bad_credentials_are_all_alike(
    stage: &Stage,
    operation: &Operation,
    of: [&Tenant; 2],
    from: u8,
) {
    let [a, _] = of;
    let mut answers = BTreeSet::new();
    let bearer = |text: &str| Who::Bearer(text.to_owned());
    let bad =
        [Who::Nobody, bearer("wrong"), bearer(&a.key_secret), bearer(&a.run_token), bearer(&a.run)];
    for who in bad {
        for (organization, thing) in [(&*a.id, operation.thing(a)), (NOTHING, NOTHING)] {
            let what = operation.at(organization, thing);
            let answer = stage.ask_from(from, &who, &what, operation.body.as_ref()).await;
            assert_eq!(answer.status, 401, "{what} {who:?}: {}", answer.text);
            answers.insert(answer.text);
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

async fn an_orchestrator_knows_its_runs_alone(
    stage: &Stage,
    operation: &Operation,
    [a, b]: [&Tenant; 2],
) {
    let who = Who::Bearer(a.orchestrator_secret.clone());
    let ask = async |organization: &str, thing: &str| {
        let what = operation.at(organization, thing);
        told(&stage.ask(&who, &what, operation.body.as_ref()).await)
    };
    let own = ask(&a.id, operation.thing(a)).await;
    let foreign = ask(&b.id, operation.thing(b)).await;
    let nothing = ask(NOTHING, NOTHING).await;
    if operation.takes("orchestrator") {
        assert!(own.0 < 300, "{}: {own:?}", operation.id);
        if operation.names("id") {
            assert_eq!((foreign.0, &foreign), (404, &nothing), "{}", operation.id);
        }
        assert!(!foreign.1.contains(&b.run), "{}: {foreign:?}", operation.id);
    } else {
        assert_eq!(own.0, 403, "{}: {own:?}", operation.id);
        assert_eq!((&own, &own), (&foreign, &nothing), "{}", operation.id);
    }
}

async fn members_do_what_their_roles_allow(
    stage: &Stage,
    operation: &Operation,
    [a, b]: [&Tenant; 2],
) {
    for (name, role) in [("anna", "owner"), ("adam", "admin"), ("ada", "viewer")] {
        let who = Who::Member(name);
        let ask = async |thing: &str| {
            let what = operation.at(&a.id, thing);
            told(&stage.ask(&who, &what, operation.body.as_ref()).await)
        };
        // Only what is there after it: others need it, too.
        let spoils = operation.method == "DELETE" || !operation.names("org");
        let own = ask(if spoils { NOTHING } else { operation.thing(a) }).await;
        let told = format!("{} {role}: {own:?}", operation.id);
        if !operation.names("org") {
            assert_eq!(own.0, 401, "{told}");
        } else if operation.takes_role(role) {
            assert_eq!(own.0 == 404, spoils, "{told}");
            assert!(![401, 403].contains(&own.0), "{told}");
            if operation.is_about_a_thing() && !operation.names("name") {
                assert_eq!(ask(operation.thing(b)).await, ask(NOTHING).await, "{told}");
            }
        } else {
            assert_eq!(own.0, 403, "{told}");
            assert_eq!(ask(NOTHING).await, own, "{told}");
        }
    }
}

/// The mightiest member of one organization asks another, and one that does not exist.
async fn a_member_is_nobody_elsewhere(stage: &Stage, operation: &Operation, b: &Tenant, from: u8) {
    if !operation.names("org") {
        return;
    }
    let who = Who::Member("anna");
    let body = operation.body.as_ref();
    let foreign =
        stage.ask_from(from + 1, &who, &operation.at(&b.id, operation.thing(b)), body).await;
    let nothing = stage.ask_from(from + 1, &who, &operation.at(NOTHING, NOTHING), body).await;
    assert_eq!(foreign.status, 401, "{}: {}", operation.id, foreign.text);
    assert_eq!(told(&foreign), told(&nothing), "{}", operation.id);
}

/// Even the operator finds a thing only where it is.
async fn things_are_found_in_their_own_organization(
    stage: &Stage,
    operation: &Operation,
    [a, b]: [&Tenant; 2],
) {
    if !operation.names("org") {
        return;
    }
    let body = operation.body.as_ref();
    let mut wrong = vec![operation.at(NOTHING, operation.thing(a))];
    if operation.is_about_a_thing() && !operation.names("name") {
        wrong.push(operation.at(&a.id, operation.thing(b)));
    }
    for what in wrong {
        let answer = stage.ask(&operator(), &what, body).await;
        assert_eq!((answer.status, &*answer.code()), (404, "not_found"), "{what}");
    }
}
