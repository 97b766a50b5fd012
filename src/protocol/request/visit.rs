//! The visitors of the walk: what `serde_json` calls while it reads a request.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::fields::{Field, Object};
use super::parse::{Stopped, Walk};
use crate::domain::fault::Code;

/// Which rows of an object have been met.
#[derive(Clone, Copy, Default)]
pub(super) struct Members(u128);

impl Members {
    /// Whether it is new.
    pub(super) fn insert(&mut self, index: usize) -> bool {
        let fresh = !self.contains(index);
        self.0 |= 1 << index;
        fresh
    }

    pub(super) fn contains(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Object(&'static Object),
    Array(&'static Object, usize),
}

/// An object or an array of objects; reads to whether it is there.
pub(super) struct Node<'a, 'de> {
    pub(super) walk: &'a mut Walk<'de>,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

impl<'de> DeserializeSeed<'de> for Node<'_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        self.walk.want = match self.kind {
            Kind::Object(_) => "an object",
            Kind::Array(..) => "an array",
        };
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.walk.want)
    }

    fn visit_unit<E: de::Error>(self) -> Result<bool, E> {
        if self.nullable { Ok(false) } else { Err(Stopped.error()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        match self.kind {
            Kind::Object(object) => self.walk.object(object, map).map(|()| true),
            Kind::Array(..) => Err(Stopped.error()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        match self.kind {
            Kind::Array(object, limit) => self.walk.array(object, limit, seq).map(|()| true),
            Kind::Object(_) => Err(Stopped.error()),
        }
    }
}

/// A key that has a row.
pub(super) struct Found {
    pub(super) field: &'static Field,
    pub(super) index: usize,
    /// Where in the body the key ends, unless it is escaped. From there the kind of its value can
    /// be seen before it is read, which spares big contents a second scan.
    pub(super) key_end: Option<usize>,
}

pub(super) struct Key<'a, 'de> {
    pub(super) walk: &'a mut Walk<'de>,
    pub(super) object: &'static Object,
}

impl Key<'_, '_> {
    fn find<E: de::Error>(self, key: &str, key_end: Option<usize>) -> Result<Found, E> {
        let found = self.object.fields.iter().enumerate().find(|(_, field)| field.name == key);
        match found {
            Some((index, field)) => Ok(Found { field, index, key_end }),
            None => {
                let path = self.walk.path.to_foreign(key);
                let says = "is not a field that this gateway passes on; remove it";
                Err(self.walk.stop_at(Code::ParameterNotAllowed, path, says).error())
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_, 'de> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, 'de> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Found, E> {
        let start = key.as_ptr().addr().checked_sub(self.walk.body.as_ptr().addr());
        let end = start.map(|start| start + key.len());
        self.find(key, end)
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Found, E> {
        self.find(key, None)
    }
}
