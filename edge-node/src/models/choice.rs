//! Which model the box has been told to use: a small file beside the journal, so that a restart keeps it. Pure but for
//! reading and writing it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::detect::manifest::Entry;
use crate::detect::model::Model;
use crate::durable;

/// The file.
const FILE: &str = "model.json";
/// Starts of the node that a model on probation may take: with the next one it has failed.
const STARTS_MAX: u32 = 2;

/// A model by name and hash: a manifest that means another file by the same name does not pass for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// Name in the manifest.
    pub name: String,
    /// SHA-256 of its file, hexadecimal.
    pub sha256: String,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The configuration's model at that time: one that it names since then comes before what was chosen.
    pub configured: String,
    /// The model.
    pub model: Pinned,
    /// What it has replaced.
    pub before: Option<Pinned>,
    /// While it has yet to prove itself: how often the node has started with it.
    pub probation: Option<u32>,
    /// Whether somebody wanted it whatever it finds.
    #[serde(default)]
    pub forced: bool,
}

impl Pinned {
    /// Of a manifest's entry.
    pub fn of(entry: &Entry) -> Self {
        Self { name: entry.name.clone(), sha256: entry.sha256.clone() }
    }

    /// The model, if it is this one still.
    ///
    /// # Errors
    /// Another file has its name by now.
    pub fn check(&self, model: Model) -> anyhow::Result<Model> {
        anyhow::ensure!(Self::of(model.entry()) == *self, "model {} of the manifest is another by now", self.name);
        Ok(model)
    }
}

impl Choice {
    /// Forgets what was chosen.
    ///
    /// # Errors
    /// The disk's.
    pub fn forget(folder: &Path) -> std::io::Result<()> {
        durable::remove(folder, FILE)
    }

    /// Reads it; `None`: nothing was chosen, or the file is none of ours.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// Writes it; a power cut leaves the old one or this one.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        durable::write(folder, FILE, &serde_json::to_vec_pretty(self).unwrap_or_default(), 0o600)
    }

    /// The node starts, and `configured` is what its configuration names: what is chosen now, and why that is another.
    pub fn at_start(self, configured: &str) -> (Option<Self>, Option<String>) {
        if self.configured != configured {
            return (None, Some(format!("the configuration names {configured} since then")));
        }
        match self.probation {
            None => (Some(self), None),
            Some(starts) if starts < STARTS_MAX => (Some(Self { probation: Some(starts + 1), ..self }), None),
            Some(starts) => {
                let why = format!("the node has started {} times while it was on probation", starts + 1);
                (self.back(), Some(why))
            }
        }
    }

    /// What is chosen once what it has replaced is back; `None`: there is nothing to go back to.
    pub fn back(self) -> Option<Self> {
        Some(Self { configured: self.configured, model: self.before?, before: None, probation: None, forced: false })
    }
}
