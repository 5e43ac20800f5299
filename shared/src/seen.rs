//! What cameras carry into the detection lane: tracks, zones, lines, and the cameras and models themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a track is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrackPhase {
    /// First confirmed.
    New,
    /// Moved, changed zone, or its period elapsed.
    Update,
    /// Not seen for the tracker's patience.
    End,
}

/// `detection.track`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DetectionTrack {
    /// Camera name.
    pub camera: String,
    /// Track number, unique per camera and run of the node.
    pub track: u64,
    /// Phase.
    pub phase: TrackPhase,
    /// Class label.
    pub label: String,
    /// Median score of the track's recent detections, 0–1.
    pub score: f32,
    /// Left, top, right, bottom in pixels of the camera's picture.
    pub box_xyxy_px: [f32; 4],
    /// Zones that hold the bottom-centre point.
    pub zones: Vec<String>,
    /// Frame number at the camera, from 0.
    pub frame: u64,
}

/// `track.ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackEnded {
    /// Camera name.
    pub camera: String,
    /// Track number.
    pub track: u64,
    /// Class label.
    pub label: String,
    /// Median score of its last detections, 0–1.
    pub score: f32,
    /// How long it was seen, milliseconds.
    pub seen_ms: u64,
    /// How long it was in each zone, milliseconds.
    pub zones_ms: Vec<(String, u64)>,
    /// Where its bottom-centre point began, shares of the picture's sides from top left.
    pub from: [f32; 2],
    /// Where it was last.
    pub to: [f32; 2],
    /// Direction of its way in the picture, degrees clockwise from up; none: it stayed where it was.
    pub direction_deg: Option<f32>,
    /// Its last speed over the ground, m/s; none: the camera does not know its ground.
    pub speed_mps: Option<f64>,
}

/// `line.crossed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LineCrossed {
    /// Line name.
    pub line: String,
    /// Camera name.
    pub camera: String,
    /// Track number.
    pub track: u64,
    /// Class label.
    pub label: String,
    /// Whether from the line's left to its right.
    pub forwards: bool,
    /// Frame that decided it.
    pub frame: u64,
}

/// `zone.dwelt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneDwelt {
    /// Zone name.
    pub zone: String,
    /// Camera name.
    pub camera: String,
    /// Track number.
    pub track: u64,
    /// Class label.
    pub label: String,
    /// How long it has been there, milliseconds.
    pub stayed_ms: u64,
    /// Frame that decided it.
    pub frame: u64,
}

/// `inference.done`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceDone {
    /// Who asked, as they say.
    pub by: String,
    /// Model.
    pub model: String,
    /// Size of the picture's file.
    pub bytes: u64,
    /// Things found.
    pub found: u32,
    /// Their labels, each once.
    pub labels: Vec<String>,
    /// How long the model took, milliseconds.
    pub took_ms: u64,
}

/// `track.classified`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackClassified {
    /// Camera name.
    pub camera: String,
    /// Track number.
    pub track: u64,
    /// Name of the chain.
    pub chain: String,
    /// Class label of the classifier.
    pub label: String,
    /// Mean score of the looks that decided it.
    pub score: f32,
    /// Frame of the last of them.
    pub frame: u64,
}

/// `model.changed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelChanged {
    /// The model that is in use now.
    pub model: String,
    /// The model before.
    pub before: String,
    /// `use`, `rollback`, `start: ` and why, or `automatic: ` and why.
    pub why: String,
    /// Who wanted it; empty: the node itself.
    pub by: String,
}

/// `model.compared`. A thing counts where one of the two is sure of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCompared {
    /// The model in use.
    pub model: String,
    /// The model it was compared with.
    pub candidate: String,
    /// Pictures that both have seen.
    pub pictures: u64,
    /// Things that both have found.
    pub both: u64,
    /// Things that only the model in use has found.
    pub only_model: u64,
    /// Things that only the candidate has found.
    pub only_candidate: u64,
    /// Time of a core that a look of the model in use takes, milliseconds, median.
    pub model_ms: f32,
    /// Time of a core that a look of the candidate takes, milliseconds, median.
    pub candidate_ms: f32,
    /// `accepted`; `shadow`: it only looks on; `ended`: it looks on no more; else why it is refused.
    pub verdict: String,
    /// Who wanted it.
    pub by: String,
}

/// `model.drifted`: population stability indices of the last window against what is normal; none: too little was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelDrifted {
    /// Camera name.
    pub camera: String,
    /// The model in use.
    pub model: String,
    /// Whether one of them is above 0.25.
    pub drifted: bool,
    /// Which classes are found.
    pub classes: Option<f64>,
    /// How sure the model is.
    pub scores: Option<f64>,
    /// How large things are.
    pub heights: Option<f64>,
    /// How bright pictures are.
    pub brightness: Option<f64>,
    /// How many things are in a picture.
    pub counts: Option<f64>,
}

/// `zone.occupied`, `zone.cleared`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZonePresence {
    /// Zone name.
    pub zone: String,
    /// Camera name.
    pub camera: String,
    /// Number of the presence episode in this run of the node, from 1.
    pub episode: u64,
    /// Frame that decided it.
    pub frame: u64,
}

/// Whether a camera can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    /// Frames arrive and progress.
    Fresh,
    /// No frame for the stale time.
    Stale,
}

/// `camera.health_changed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraHealth {
    /// Camera name.
    pub camera: String,
    /// Its state now.
    pub state: CameraState,
    /// Age of the newest frame in milliseconds.
    pub age_ms: u64,
    /// The last error of the source, empty if none.
    pub error: String,
}

/// `camera.view_changed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CameraViewChanged {
    /// Camera name.
    pub camera: String,
    /// `good`, or what is wrong: `frozen`, `dark`, `glaring`, `covered`, `blurred`, `moved`; `accepted`: a supervisor says that
    /// what it shows is its usual view.
    pub view: String,
    /// Who accepted it.
    pub by: String,
}
