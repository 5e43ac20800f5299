//! Texts of the program that are stored and read again: a reason is one of a few that the rules name.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

static KNOWN: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

/// A text of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text(pub &'static str);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Text {
    /// Only where recordings are replayed: each distinct text is kept once until the program ends.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        Ok(Self(match known.get(text.as_str()) {
            Some(text) => text,
            None => {
                let text: &'static str = Box::leak(text.into_boxed_str());
                known.insert(text);
                text
            }
        }))
    }
}
