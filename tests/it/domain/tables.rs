//! The rules of money and runs, as tables.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rungate::domain::bound::{BoundConstants, InputShape, OutputLimits, input_bound, output_bound};
use rungate::domain::budget::{Amounts, Balance, BudgetRef, Unit};
use rungate::domain::fault::{Code, Origin};
use rungate::domain::id::{Attempt, BudgetId};
use rungate::domain::key::TokenHash;
use rungate::domain::money::{MoneyError, Overflow, Usd};
use rungate::domain::policy::{check_budgets, check_standing};
use rungate::domain::price::{ClassPrices, Prices};
use rungate::domain::reservation::{Authority, Refusal};
use rungate::domain::run::{RunStanding, RunState, StateAdmission};
use rungate::domain::settlement::{
    Charge, CostSource, Ending, Flag, ReportedUsage, Terms, UnknownUsage,
};
use rungate::domain::usage::{Tokens, Usage};
use rust_decimal::Decimal;

use super::{price, usd};

fn prices(input: &str, cached_input: &str, cache_write: &str, output: &str) -> ClassPrices {
    ClassPrices {
        input: price(input),
        cached_input: price(cached_input),
        cache_write: price(cache_write),
        long_cache_write: price(cache_write),
        output: price(output),
    }
}

#[test]
fn amounts_as_json_writers_have_them_are_read_exactly() {
    let cases = [
        ("1e-05", "0.00001"),
        ("1E-5", "0.00001"),
        ("2.5e-7", "0.00000025"),
        ("1e-18", "0.000000000000000001"),
        ("1.5e3", "1500"),
        ("1e+2", "100"),
        ("0e99", "0"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("1.10", "1.10"),
        (".5", "0.5"),
        ("0.1000000000000000000000", "0.1000000000000000000000"),
        ("9999999999.999999999999999999", "9999999999.999999999999999999"),
        ("0.30000000000000004", "0.30000000000000004"),
    ];
    for (text, expected) in cases {
        assert_eq!(Usd::parse(text).map(|it| it.to_string()).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_amount_is_refused_with_its_reason() {
    use MoneyError::{Malformed, Negative, TooManyDigits};
    for text in ["", "-", ".", "e5", "1e", "1e1.5", "+1", "1_0", "1,0", "NaN", "0x1", " 1", "1-2"] {
        assert_eq!(Usd::parse(text), Err(Malformed), "{text}");
    }
    for text in ["-1", "-0.000000000000000001", "-1e-5"] {
        assert_eq!(Usd::parse(text), Err(Negative), "{text}");
    }
    for text in ["1e-19", "1e10", "10000000000", "1e999999999", "1e-999999999", "5e-2147483648"] {
        assert_eq!(Usd::parse(text), Err(TooManyDigits), "{text}");
    }
    let most = Usd::from_decimal(Decimal::MAX).unwrap();
    assert_eq!(most.plus(usd("0.1")), Err(Overflow));
    assert_eq!(most.plus(most), Err(Overflow));
}

#[test]
fn a_rounded_quotient_never_buys_a_token_too_many() {
    // 80,000,000,001 tokens at this price are 10^-18 dollars dearer than the first amount.
    let rounded = Decimal::from_str_exact("70000000000874999.999999999999").unwrap();
    assert_eq!(rounded / Decimal::from(875_000), Decimal::from(80_000_000_001_u64));
    let buys = |amount| {
        let amount = Usd::from_decimal(Decimal::from_str_exact(amount).unwrap()).unwrap();
        price("875000").affords(amount).unwrap().count()
    };
    assert_eq!(buys("70000000000.874999999999999999"), 80_000_000_000);
    assert_eq!(buys("70000000000.875"), 80_000_000_001);
    assert_eq!(price("0").affords(usd("1")), None);
}

#[test]
fn output_is_bounded_by_the_smallest_of_all_limits() {
    let bound = |asked: Option<u64>, maximum, run: Option<u64>, default| {
        let limits = OutputLimits {
            model_maximum: Tokens::new(maximum),
            run_maximum: run.map(Tokens::new),
            default: Tokens::new(default),
        };
        output_bound(asked.map(Tokens::new), &limits).count()
    };
    assert_eq!(bound(None, 100, None, 50), 50);
    assert_eq!(bound(None, 40, None, 50), 40);
    assert_eq!(bound(Some(70), 100, None, 50), 70);
    assert_eq!(bound(Some(170), 100, None, 50), 100);
    assert_eq!(bound(Some(70), 100, Some(60), 50), 60);
    assert_eq!(bound(None, 100, Some(10), 50), 10);
}

#[test]
fn input_counts_text_scaffold_and_images() {
    let constants =
        BoundConstants { per_request: 16, per_message: 8, per_tool: 32, per_image: Some(1000) };
    let shape = InputShape { messages: 2, tools: 3, images: 4 };
    let window = Tokens::new(100_000);
    let bound = input_bound(Tokens::new(5), shape, &constants, window);
    assert_eq!(bound.count(), 5 + 16 + 2 * 8 + 3 * 32 + 4 * 1000);
}

#[test]
fn a_run_never_goes_backwards_and_asking_twice_changes_nothing() {
    for from in RunState::ALL {
        for wanted in RunState::ALL {
            let reached = from.towards(wanted);
            assert!(reached >= from, "{from:?} towards {wanted:?}");
            assert!(reached == from || reached == wanted);
            assert_eq!(reached.towards(wanted), reached);
            if from.admission() == StateAdmission::Closed {
                assert_eq!(reached.admission(), StateAdmission::Closed);
            }
        }
        assert_eq!(RunState::parse(from.as_str()), Some(from));
    }
    for over in [RunState::Failed, RunState::Cancelled] {
        assert!(RunState::ALL.into_iter().all(|wanted| over.towards(wanted) == over));
    }
}

#[test]
fn codes_are_snake_case_and_no_two_are_alike() {
    let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for code in Code::ALL {
        let name = code.as_str();
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!name.starts_with('_') && !name.ends_with('_') && !name.contains("__"), "{name}");
        let ours = matches!(code.origin(), Origin::Gateway | Origin::Upstream);
        assert_eq!(code.status() >= 500, ours, "{name}: an agent's failure is a 4xx");
    }
}

#[test]
fn a_call_with_two_faults_gets_the_first_in_the_published_order() {
    let now = DateTime::<Utc>::UNIX_EPOCH;
    let (token, other) = (TokenHash::of("rg-run-a"), TokenHash::of("rg-run-b"));
    let check = |state, authority, require_token, expires_in: Option<i64>, expected| {
        let expires_at = expires_in.map(|seconds| now + chrono::TimeDelta::seconds(seconds));
        let standing = RunStanding {
            state,
            attempt: Attempt::FIRST,
            token,
            expires_at,
            cut: false,
            version: 0,
        };
        assert_eq!(check_standing(&standing, require_token, authority, now), expected);
    };
    let (good, bad, bare) = (Authority::Token(token), Authority::Token(other), Authority::RunId);
    use RunState::{Cancelled, Failed, Finished, Initializing, Pending, Running, Scoring};
    check(Running, good, true, None, Ok(()));
    check(Running, good, true, Some(1), Ok(()));
    check(Running, bare, false, None, Ok(()));
    check(Running, bare, true, None, Err(Refusal::InvalidKey));
    check(Running, bad, false, None, Err(Refusal::InvalidKey));
    check(Running, good, false, Some(0), Err(Refusal::RunExpired));
    for closed in [Scoring, Finished, Failed, Cancelled] {
        check(closed, bad, false, Some(-1), Err(Refusal::InvalidKey));
        check(closed, good, false, Some(-1), Err(Refusal::RunClosed(closed)));
        check(closed, good, false, None, Err(Refusal::RunClosed(closed)));
    }
    for early in [Pending, Initializing] {
        check(early, bare, true, Some(-1), Err(Refusal::InvalidKey));
        check(early, good, true, Some(-1), Err(Refusal::RunExpired));
        check(early, good, true, None, Err(Refusal::RunNotActive(early)));
    }
}

#[test]
fn budgets_are_checked_calls_first_then_tokens_then_dollars() {
    let amounts = Amounts { usd: usd("1"), tokens: Tokens::new(10), calls: 1 };
    let check = |full: &[Unit], expected: Result<(), Unit>| {
        let budgets: Vec<(BudgetRef, Balance)> = [Unit::Usd, Unit::Tokens, Unit::Calls]
            .into_iter()
            .map(|unit| {
                let limit =
                    if full.contains(&unit) { Decimal::ZERO } else { amounts.in_unit(unit) };
                let budget = BudgetRef::of_run(BudgetId::generate(), unit);
                (budget, Balance { limit, ..Balance::default() })
            })
            .collect();
        let checked = check_budgets(budgets.iter().map(|(a, b)| (a, b, false)), &amounts);
        assert_eq!(checked.map_err(|budget| budget.unit), expected);
    };
    check(&[], Ok(()));
    check(&[Unit::Usd], Err(Unit::Usd));
    check(&[Unit::Usd, Unit::Tokens], Err(Unit::Tokens));
    check(&Unit::ALL, Err(Unit::Calls));
}

#[test]
fn an_ended_attempt_is_charged_by_the_published_rules() {
    let charged = |hidden_reasoning, unknown_usage, ending| {
        let base = prices("2", "1", "4", "8");
        let terms = Terms {
            reserved: Amounts { usd: usd("0.0012"), tokens: Tokens::new(200), calls: 1 },
            input_bound: Tokens::new(100),
            output_bound: Tokens::new(100),
            context_window: Tokens::new(1000),
            output_maximum: Tokens::new(500),
            hidden_reasoning,
            unknown_usage,
        };
        terms.charge(ending, &Prices { base, long_context: None })
    };
    let check = |hidden, unknown, ending, (source, cost, flag): (CostSource, &str, _)| {
        let charge: Charge = charged(hidden, unknown, ending);
        let told = (charge.source, charge.cost.to_string(), charge.flag);
        assert_eq!(told, (source, cost.to_owned(), flag), "{ending:?}");
        let calls = u32::from(source != CostSource::None);
        assert_eq!(charge.amounts(), Amounts { calls, ..charge.amounts() });
        assert_eq!(charge.amounts().usd, charge.cost);
    };
    let counted = |input: u64, cached: u64, output: u64, reasoning: u64| {
        Ending::Reported(ReportedUsage::Counted(Usage {
            uncached_input: Tokens::new(input),
            cached_input: Tokens::new(cached),
            cache_write: Tokens::ZERO,
            long_cache_write: Tokens::ZERO,
            output: Tokens::new(output),
            reasoning: Tokens::new(reasoning),
        }))
    };
    let seen =
        |input, output| Ending::Seen { input: Tokens::new(input), output: Tokens::new(output) };
    let worst = |flag| (CostSource::WorstCase, "0.0012", flag);
    let over = Some(Flag::OverReservation);
    let absurd = worst(Some(Flag::AbsurdUsage));
    use UnknownUsage::{Estimate, WorstCase};
    for (hidden, unknown) in [(false, Estimate), (true, Estimate), (false, WorstCase)] {
        let check = |ending, expected| check(hidden, unknown, ending, expected);
        check(Ending::NothingBought, (CostSource::None, "0", None));
        check(Ending::Unknown, worst(None));
        check(counted(0, 0, 0, 0), (CostSource::Usage, "0", None));
        check(counted(10, 20, 5, 5), (CostSource::Usage, "0.00008", None));
        check(counted(100, 0, 101, 0), (CostSource::Usage, "0.001008", over));
        check(counted(500, 500, 500, 0), (CostSource::Usage, "0.0055", over));
        check(counted(501, 500, 1, 0), absurd);
        check(counted(1, 0, 501, 0), absurd);
        check(counted(1, 0, 5, 6), absurd);
        check(Ending::Reported(ReportedUsage::Nonsense), absurd);
    }
    check(false, Estimate, seen(10, 5), (CostSource::Estimate, "0.00006", None));
    check(false, Estimate, seen(999, 999), (CostSource::Estimate, "0.001", None));
    check(true, Estimate, seen(10, 5), worst(None));
    check(false, WorstCase, seen(10, 5), worst(None));
}
