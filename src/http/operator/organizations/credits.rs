//! Prepaid credits: what was put in, what calls took out of it, and what is left.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::budget::Scope;
use crate::domain::fault::Fault;
use crate::domain::id::{CreditId, KeyId, RunId};
use crate::domain::money::Usd;
use crate::http::operator::exchange::Exchange;
use crate::http::operator::fields::Fields;
use crate::http::operator::members::{Kind, Member, not_null, optional};
use crate::http::operator::{Operator, paging};
use crate::http::route::Right;
use crate::http::usage_view::{instant, plain};
use crate::ledger::credits::{Credit, CreditKind, Movement, Transaction};
use crate::ledger::organizations::BudgetStanding;
use crate::protocol::json;
use crate::protocol::schema::{InstantText, UsdText};

/// Most bytes of a note.
const MAX_NOTE_BYTES: usize = 1 << 10;
const KINDS: [&str; 2] = [CreditKind::Grant.as_str(), CreditKind::TopUp.as_str()];

/// The members of a credit.
pub(super) static NEW_FIELDS: &[Member] = &[
    optional("id", Kind::Uuid, "The same id twice is booked once; one is made if none is given."),
    optional("kind", Kind::Word(&KINDS), "Why; `top_up` by default."),
    Member {
        required: true,
        ..not_null("amount_usd", Kind::Usd, "How much, in US dollars; more than nothing.")
    },
    optional("note", Kind::Text(MAX_NOTE_BYTES), "Whatever whoever does it wants to keep."),
];

/// One amount that was put in.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Credit")]
pub(super) struct CreditView {
    #[schemars(with = "KeyId")]
    id: Uuid,
    #[schemars(extend("enum" = KINDS))]
    kind: &'static str,
    amount_usd: Usd,
    note: String,
    #[schemars(with = "InstantText")]
    created_at: String,
}

/// Where credits stand.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CreditBalance")]
struct BalanceView {
    /// Whether calls are paid for in advance: from the first credit on they are.
    prepaid: bool,
    /// What is left: put in, less what was spent and what calls in flight may cost. Less than
    /// nothing if a provider took more than a call could cost.
    #[schemars(with = "String")]
    balance_usd: String,
    /// All that was ever put in.
    #[schemars(with = "UsdText")]
    credited_usd: String,
    #[schemars(with = "UsdText")]
    spent_usd: String,
    #[schemars(with = "UsdText")]
    reserved_usd: String,
}

/// What changed the balance.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "CreditTransaction")]
pub(super) struct TransactionView {
    /// The id of the credit, or of the call.
    #[schemars(with = "KeyId")]
    id: Uuid,
    #[schemars(extend("enum" = ["grant", "top_up", "charge"]))]
    kind: &'static str,
    /// What it added to the balance: less than nothing for a charge.
    #[schemars(with = "String")]
    amount_usd: String,
    note: String,
    /// The run that a charged call was made for, if any.
    run_id: Option<RunId>,
    /// The inference key that a charged call was made with, if any.
    key_id: Option<KeyId>,
    /// The model that a charged call asked.
    model: Option<String>,
    /// When it was booked; of a call, when it was admitted.
    #[schemars(with = "InstantText")]
    created_at: String,
}

/// Credits with their transactions, the newest first.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Credits")]
pub(super) struct CreditsView {
    #[serde(flatten)]
    balance: BalanceView,
    /// The part of `spent_usd` that went to calls whose rows were retired, on no page.
    #[schemars(with = "UsdText")]
    unlisted_charges_usd: String,
    data: Vec<TransactionView>,
    /// Where the next page begins: its `after`.
    next: Option<String>,
}

/// A credit, and where they stand with it.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "BookedCredit")]
pub(super) struct BookedView {
    credit: CreditView,
    #[serde(flatten)]
    balance: BalanceView,
}

impl CreditView {
    fn of(credit: Credit) -> Self {
        Self {
            id: credit.id.uuid(),
            kind: credit.kind.as_str(),
            amount_usd: credit.amount.normalized(),
            note: credit.note,
            created_at: instant(credit.created_at),
        }
    }
}

impl TransactionView {
    fn of(transaction: Transaction) -> Self {
        match transaction.movement {
            Movement::Credit(credit) => Self {
                id: credit.id.uuid(),
                kind: credit.kind.as_str(),
                amount_usd: plain(credit.amount.decimal()),
                note: credit.note,
                run_id: None,
                key_id: None,
                model: None,
                created_at: instant(credit.created_at),
            },
            Movement::Charge { call, cost, run, key, model, created_at } => Self {
                id: call,
                kind: "charge",
                amount_usd: plain(-cost),
                note: String::new(),
                run_id: run,
                key_id: key,
                model: Some(model),
                created_at: instant(created_at),
            },
        }
    }
}

impl BalanceView {
    fn of(standing: Option<&BudgetStanding>) -> Self {
        let balance = standing.map(|standing| standing.balance).unwrap_or_default();
        let left = balance.limit.saturating_sub(balance.spent).saturating_sub(balance.reserved);
        Self {
            prepaid: standing.is_some(),
            balance_usd: plain(left),
            credited_usd: plain(balance.limit),
            spent_usd: plain(balance.spent),
            reserved_usd: plain(balance.reserved),
        }
    }
}

fn read_new(body: &str) -> Result<((CreditId, CreditKind, Usd), String), Fault> {
    let fields = Fields::read(body, NEW_FIELDS, String::new())?;
    let amount = fields.usd("amount_usd")?.filter(|amount| !amount.is_zero());
    let amount = amount.ok_or_else(|| fields.wrong("amount_usd", "must be more than nothing"))?;
    let kind = match fields.text("kind")? {
        None => CreditKind::TopUp,
        Some(word) => CreditKind::parse(&word)
            .ok_or_else(|| fields.wrong("kind", "must be \"grant\" or \"top_up\""))?,
    };
    let id = match fields.given("id") {
        None => CreditId::generate(),
        Some(raw) => json::text(raw)
            .and_then(|text| Uuid::try_parse(&text).ok())
            .filter(|id| !id.is_nil())
            .map(CreditId::from_uuid)
            .ok_or_else(|| fields.wrong("id", "must be a UUID, and not the nil one"))?,
    };
    let note = fields.storable("note", MAX_NOTE_BYTES)?.unwrap_or_default();
    Ok(((id, kind, amount), note))
}

/// `POST /organizations/{org}/credits`
pub(super) async fn add(
    request: HttpRequest,
    payload: web::Payload,
    operator: web::Data<Operator>,
) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        let (_, body) = exchange.body(payload, Right::Operator).await?;
        let (credit, note) = read_new(body.text()?)?;
        let organization = exchange.organization()?;
        let added = exchange.operator.gateway.add_credit(organization, credit, note).await?;
        let (credit, standing, known) = added;
        let status = if known { StatusCode::OK } else { StatusCode::CREATED };
        let balance = BalanceView::of(Some(&standing));
        exchange.json(status, &BookedView { credit: CreditView::of(credit), balance })
    };
    exchange.answer(work).await
}

/// `GET /organizations/{org}/credits`
pub(super) async fn show(request: HttpRequest, operator: web::Data<Operator>) -> HttpResponse {
    let exchange = Exchange::new(request, operator);
    let work = async {
        exchange.admit(Right::Read).await?;
        let page = paging::read(&exchange.query(paging::PAGE)?)?;
        let (gateway, id) = (&exchange.operator.gateway, exchange.organization()?);
        let (found, retired) = gateway.credit_history(id, page).await?;
        let record = gateway.organization_record(id).await?;
        let last = found.rows.last().filter(|_| found.more);
        let next = last.map(|transaction| transaction.position.to_string());
        let data = found.rows.into_iter().map(TransactionView::of).collect();
        let balance = BalanceView::of(record.standing(Scope::Credits));
        let unlisted_charges_usd = plain(retired);
        let view = CreditsView { balance, unlisted_charges_usd, data, next };
        exchange.json(StatusCode::OK, &view)
    };
    exchange.answer(work).await
}
