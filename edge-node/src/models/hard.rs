//! Pictures that the model was unsure of, or somebody says it was wrong about, kept for training under a quota.
//!
//! `hard/MODEL-HASH/` in the data folder is a folder in YOLO's format (`images/`, `labels/`, `names.yaml`), with what the model
//! has found as labels to be corrected, and `about/` with why each was kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use shared::units::{Uptime, UtcMicros};
use uuid::Uuid;

use crate::detect::Detection;
use crate::detect::manifest::Entry;
use crate::detect::zone::LIKELY;
use crate::durable;
use crate::footage::snapshot::jpeg;
use crate::sensor::frame::Picture;

/// A score this near to what counts is a doubt.
const MARGIN: f32 = 0.05;
/// One picture of a camera for one reason in this time: the next ones show the same.
const SELDOM: Duration = Duration::from_secs(60);

/// Why a picture is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// A score hardly counts, or hardly does not; of classes that count from a higher score on, hardly counts.
    Margin,
    /// A followed thing was not found here, but before and after.
    Flicker,
    /// Another model finds something else.
    Disagree,
    /// Somebody says that something was not found.
    Missed,
    /// Somebody says that something is not there.
    False,
}

/// A picture to keep.
#[derive(Debug)]
pub struct Hard<'a> {
    /// Why.
    pub why: Why,
    /// Camera.
    pub camera: &'a str,
    /// Who says so; empty: the node.
    pub by: &'a str,
    /// The picture.
    pub picture: &'a Picture,
    /// What was found in it.
    pub found: &'a [Detection],
    /// Wall clock.
    pub at: UtcMicros,
}

/// Whether something is found whose score is near to the least that counts of its class.
pub fn unsure(found: &[Detection], least: impl Fn(usize) -> f32) -> bool {
    found.iter().any(|d| (d.score - least(d.class)).abs() <= MARGIN)
}

/// When a picture was last kept, by camera and reason.
#[derive(Debug, Default)]
pub struct Turns(HashMap<(usize, Why), Uptime>);

impl Turns {
    /// Whether it is time for another.
    pub fn due(&self, camera: usize, why: Why, now: Uptime) -> bool {
        self.0.get(&(camera, why)).is_none_or(|last| now.since(*last) >= SELDOM)
    }

    /// One is kept.
    pub fn took(&mut self, camera: usize, why: Why, now: Uptime) {
        self.0.insert((camera, why), now);
    }
}

/// Where they are kept.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    quota: u64,
}

impl Store {
    /// In a data folder, so many bytes of pictures at most.
    pub fn new(data: &Path, quota: u64) -> Self {
        Self { folder: data.join("hard"), quota }
    }

    /// Keeps one; the oldest go when the quota is full. Gives its number; `None`: it cannot be encoded, or is larger than
    /// the quota.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(&self, model: &Entry, hard: &Hard) -> std::io::Result<Option<String>> {
        let Some(bytes) = jpeg(hard.picture, &[]).filter(|bytes| bytes.len() as u64 <= self.quota) else {
            return Ok(None);
        };
        let folder = self.folder.join(format!("{}-{:.8}", plain(&model.name), model.sha256));
        for part in ["images", "labels", "about"] {
            durable::private_folder(&folder.join(part))?;
        }
        self.make_room(bytes.len() as u64)?;
        // The folder is of one file of weights: its classes do not change.
        if !folder.join("names.yaml").exists() {
            let names =
                model.classes.iter().enumerate().map(|(n, name)| format!("  {n}: {}\n", serde_json::json!(name)));
            let text = format!("names:\n{}", names.collect::<String>());
            durable::write(&folder, "names.yaml", text.as_bytes(), 0o600)?;
        }
        let id = Uuid::now_v7().to_string();
        let about = serde_json::json!({
            "why": hard.why, "camera": hard.camera, "by": hard.by, "at": hard.at.to_string(),
            "model": model.name, "sha256": model.sha256,
        });
        durable::write(&folder.join("about"), &format!("{id}.json"), about.to_string().as_bytes(), 0o600)?;
        let labels = labels(hard.found, (hard.picture.width as f32, hard.picture.height as f32));
        durable::write(&folder.join("labels"), &format!("{id}.txt"), labels.as_bytes(), 0o600)?;
        // Last: a picture that is there has its labels.
        durable::write(&folder.join("images"), &format!("{id}.jpg"), &bytes, 0o600)?;
        Ok(Some(id))
    }

    /// Removes what a power cut or a full disk has left: files half written, and what lies beside a picture that is not there.
    ///
    /// # Errors
    /// The disk's.
    pub fn tidy(&self) -> std::io::Result<()> {
        for model in std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|model| model.path()) {
            for (part, end) in [("images", "jpg"), ("labels", "txt"), ("about", "json")] {
                for path in durable::files(&model.join(part), "new").unwrap_or_default() {
                    std::fs::remove_file(path)?;
                }
                for path in durable::files(&model.join(part), end).unwrap_or_default() {
                    let picture = model.join("images").join(path.file_stem().unwrap_or_default()).with_extension("jpg");
                    if !picture.exists() {
                        std::fs::remove_file(path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The newest pictures of all models, newest first.
    pub fn newest(&self, count: usize) -> Vec<PathBuf> {
        let mut all = self.pictures();
        all.reverse();
        all.truncate(count);
        all
    }

    /// How many there are, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        let all = self.pictures();
        (all.len(), all.iter().map(|path| bytes_of(path)).sum())
    }

    /// All pictures, oldest first: their names begin with the time.
    fn pictures(&self) -> Vec<PathBuf> {
        let models = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let images = models.filter_map(|model| durable::files(&model.path().join("images"), "jpg").ok());
        let mut all: Vec<PathBuf> = images.flatten().collect();
        all.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
        all
    }

    fn make_room(&self, more: u64) -> std::io::Result<()> {
        let all = self.pictures();
        let mut total: u64 = all.iter().map(|path| bytes_of(path)).sum();
        for path in all {
            if total + more <= self.quota {
                break;
            }
            total = total.saturating_sub(bytes_of(&path));
            std::fs::remove_file(&path)?;
            let (name, model) = (path.file_stem().unwrap_or_default(), path.parent().and_then(Path::parent));
            for (part, end) in [("labels", "txt"), ("about", "json")] {
                let beside = model.map(|model| model.join(part).join(name).with_extension(end));
                // What is left of it is small, and goes with nothing.
                let _ = beside.map(std::fs::remove_file);
            }
        }
        Ok(())
    }
}

fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |about| about.len())
}

/// A model's name as the name of a folder.
pub fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}

/// YOLO's label lines: class, then centre and size as shares of the picture.
fn labels(found: &[Detection], (width, height): (f32, f32)) -> String {
    let line = |d: &Detection| {
        let [left, top, right, bottom] = d.box_xyxy_px;
        let (left, right) = (left.clamp(0.0, width) / width, right.clamp(0.0, width) / width);
        let (top, bottom) = (top.clamp(0.0, height) / height, bottom.clamp(0.0, height) / height);
        let (x, y, w, h) = ((left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top);
        format!("{} {x:.6} {y:.6} {w:.6} {h:.6}\n", d.class)
    };
    found.iter().filter(|d| d.score >= LIKELY).map(line).collect()
}
