//! The rules of money and runs: values in, values out.
//!
//! Nothing here knows HTTP, SQL, a clock or a framework. Whatever depends on the time takes `now`
//! as an argument; whatever can fail says so in its type.

pub mod id;
pub mod money;
pub mod usage;
pub mod price;
pub mod normal;
pub mod tier;
pub mod bound;
pub mod budget;
pub mod key;
pub mod control;
pub mod seal;
pub mod run;
pub mod limits;
pub mod organization;
pub mod reservation;
pub mod settlement;
pub mod policy;
pub mod fault;
