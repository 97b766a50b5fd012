//! Values that the gateway takes note of: what it writes itself, what names the run, what changes
//! the price.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Field, Shape};
use super::leaf::{MAX_CHOICES, MAX_MODEL_BYTES, Outcome, find_word};
use super::parse::{Stopped, Walk};
use crate::domain::fault::Code::InvalidRequest;
use crate::domain::price::Caching;
use crate::domain::usage::MAX_TOKENS;

impl Walk<'_> {
    /// Reads a value that is noted; tells whether it is one.
    pub(super) fn noted(&mut self, field: &Field, raw: &str) -> Result<bool, Stopped> {
        match field.shape {
            // These are written at the end, if at all.
            Shape::Model => self.model(raw)?,
            Shape::Stream => self.head.stream = self.flag(raw)?,
            Shape::IncludeUsage => self.head.include_usage = self.flag(raw)?,
            Shape::IncludeCost => self.head.tells_cost = self.flag(raw)?,
            Shape::Choices => {
                let count = self.whole(raw, MAX_CHOICES)?;
                self.head.choices = u32::try_from(count).ok();
            }
            Shape::Limit => self.limit(raw)?,
            Shape::Seed => self.head.seed = Some(self.integer(raw)?),
            Shape::Metadata => self.metadata(raw)?,
            Shape::Inputs => self.inputs(field, raw)?,
            Shape::RunName => {
                let name = self.text(raw)?.into_owned();
                self.head.run_names.push(name);
            }
            Shape::CacheMark => {
                self.word(&["ephemeral"], raw)?;
                self.head.caching = self.head.caching.max(Some(Caching::Short));
                self.pass(field, raw);
            }
            Shape::Lifetime => {
                self.word(&["5m", "1h"], raw)?;
                if find_word(&["1h"], raw).is_some() {
                    self.head.caching = Some(Caching::Long);
                }
                self.pass(field, raw);
            }
            Shape::Budget => {
                self.head.thinking = Some(self.whole(raw, MAX_TOKENS)?);
                self.pass(field, raw);
            }
            Shape::Message => {
                self.sound(raw, "must be a string")?;
                self.shape.messages = self.shape.messages.saturating_add(1);
                self.pass(field, raw);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn limit(&mut self, raw: &str) -> Outcome {
        let asked = self.whole(raw, MAX_TOKENS)?;
        let least = self.head.asked_output.map_or(asked, |least| least.min(asked));
        self.head.asked_output = Some(least);
        Ok(())
    }

    fn model(&mut self, raw: &str) -> Outcome {
        let model = self.text(raw)?;
        let fits = (1..=MAX_MODEL_BYTES).contains(&model.len());
        if !fits || model.chars().any(char::is_control) {
            let says = "must be 1 to 256 bytes without control characters";
            return Err(self.stop(InvalidRequest, says));
        }
        self.head.model = model.into_owned();
        Ok(())
    }

    fn metadata(&mut self, raw: &str) -> Outcome {
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow)]
            run_id: Option<&'a RawValue>,
        }

        self.free(raw)?;
        let run_id = serde_json::from_str(raw).ok().and_then(|Metadata { run_id }| run_id);
        let Some(run_id) = run_id.filter(|raw| raw.get() != "null") else {
            return Ok(());
        };
        self.path.enter_key("run_id");
        let name = self.text(run_id.get())?.into_owned();
        self.path.leave();
        self.head.run_names.push(name);
        Ok(())
    }
}
