//! The list of models the node may run, and the checks a model file must pass before it is loaded.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shared::config::{ConfigError, parse};

/// Largest model file, in bytes: what a box can hold beside everything else.
const FILE_MAX: u64 = 512 * 1024 * 1024;

/// The whole manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "model")]
    models: Vec<Entry>,
}

/// One model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Name used in configuration and on the command line.
    pub name: String,
    /// File, relative to the manifest.
    pub file: PathBuf,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// How its output is read.
    pub head: Head,
    /// Its input tensor: 1 × 3 × height × width, or what its layout says.
    pub input: Input,
    /// How a picture is fitted into the input.
    pub letterbox: Letterbox,
    /// Its output tensor, 1 × rows × columns.
    pub output: Output,
    /// Pixels of a cell, of each of its grids, in the order of its output; of heads that have grids.
    #[serde(default = "usual_strides")]
    pub strides: Vec<u32>,
    /// Class labels in output order.
    pub classes: Vec<String>,
    /// Licence of the weights.
    pub licence: String,
    /// Where to get it.
    pub source: String,
}

/// How a model's output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// 1 × cells × (5 + classes): cx, cy, w, h, objectness, class scores; undecoded grids.
    Yolox,
    /// 1 × (4 + classes) × cells: cx, cy, w, h in input pixels, class scores; also of its successors 9 and 11.
    Yolov8,
    /// 1 × 3·cells × (5 + classes): cx, cy, w, h in input pixels, objectness, class scores.
    Yolov5,
    /// 1 × classes: probabilities of what is in the middle of a part of a picture; no detector but what looks second.
    Classes,
}

impl Head {
    /// Rows and columns of the output for an input, grids of these strides (none of them zero), and so many classes.
    pub fn shape(self, input: &Input, strides: &[u32], classes: usize) -> (usize, usize) {
        let cells: u32 = strides.iter().map(|stride| (input.width / stride) * (input.height / stride)).sum();
        match self {
            Self::Yolox => (cells as usize, 5 + classes),
            Self::Yolov8 => (4 + classes, cells as usize),
            Self::Yolov5 => (3 * cells as usize, 5 + classes),
            Self::Classes => (1, classes),
        }
    }
}

/// Those of YOLOX, YOLOv5 and YOLOv8 as they come.
fn usual_strides() -> Vec<u32> {
    vec![8, 16, 32]
}

/// What a stride may be: a finer grid than the finest has more cells than a box can look at; sides are multiples of the
/// coarsest.
const STRIDES: [u32; 4] = [4, 8, 16, 32];

/// How input pixels lie in the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// A plane for each colour: 1 × 3 × height × width.
    #[default]
    Planes,
    /// Each block of two by two pixels is twelve planes, three colours of (row, column) (0,0), (1,0), (0,1), (1,1):
    /// 1 × 12 × height/2 × width/2.
    SpaceToDepth,
}

/// Order of the colour planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// Input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Plane order.
    pub channels: Channels,
    /// Factor on the 0–255 values.
    pub scale: f32,
    /// How pixels lie in the tensor.
    #[serde(default)]
    pub layout: Layout,
}

/// Longest side of an input, in pixels.
const INPUT_MAX: u32 = 1920;

impl Input {
    /// Shape of the tensor.
    pub fn shape(&self) -> [usize; 4] {
        let (width, height) = (self.width as usize, self.height as usize);
        match self.layout {
            Layout::Planes => [1, 3, height, width],
            Layout::SpaceToDepth => [1, 12, height / 2, width / 2],
        }
    }
}

/// Where the shrunken picture sits in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anchor {
    /// In the top-left corner.
    TopLeft,
    /// In the middle.
    Center,
}

/// How a picture is fitted into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letterbox {
    /// Where it sits.
    pub anchor: Anchor,
    /// Value of the rest, 0–255.
    pub fill: u8,
    /// How pixels become fewer.
    #[serde(default)]
    pub shrink: Shrink,
}

/// How several pixels of a picture become one of the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shrink {
    /// Weighed by a triangle twice as wide as what becomes one pixel, as Pillow's BILINEAR.
    #[default]
    Bilinear,
    /// The mean of the pixels whose middles lie in what becomes one, as Pillow's BOX, and OpenCV's INTER_AREA where sides
    /// are divided by whole numbers. Sharper, and there quicker by far.
    Area,
}

/// Output tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Candidates.
    pub rows: usize,
    /// Values of each.
    pub columns: usize,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ConfigError),
    /// No such entry.
    #[error("model {wanted:?} is not in {manifest}, which has: {known}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// Manifest file.
        manifest: String,
        /// Its names.
        known: String,
    },
    /// The file cannot be read.
    #[error("model {name}: {file}: {reason}; to get it: {source_of}")]
    Read {
        /// Model.
        name: String,
        /// File.
        file: String,
        /// Why.
        reason: String,
        /// Where to get it.
        source_of: String,
    },
    /// The file is not the one the manifest means.
    #[error("model {name}: {file}: expected sha256 {expected}, found {found}")]
    Hash {
        /// Model.
        name: String,
        /// File.
        file: String,
        /// The manifest's hash.
        expected: String,
        /// The file's hash.
        found: String,
    },
    /// The network's tensors are not those of the manifest.
    #[error("model {name}: {file}: expected {expected}, found {found}")]
    Shape {
        /// Model.
        name: String,
        /// File.
        file: String,
        /// The manifest's shape.
        expected: String,
        /// The network's.
        found: String,
    },
    /// What computes networks cannot be used.
    #[error("use ONNX Runtime (model.onnxruntime): {file}: {reason}")]
    Library {
        /// Its file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The network could not be run.
    #[error("model {name}: {reason}")]
    Run {
        /// Model.
        name: String,
        /// What the inference library says.
        reason: String,
    },
}

/// A manifest and where it lies.
#[derive(Debug)]
pub struct Manifest {
    path: PathBuf,
    /// The entries.
    pub models: Vec<Entry>,
}

impl Entry {
    /// Shape of its output.
    pub fn shape(&self) -> Vec<usize> {
        match self.head {
            Head::Classes => vec![1, self.output.columns],
            _ => vec![1, self.output.rows, self.output.columns],
        }
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ConfigError`] naming file and key path.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::new(&file, "file", e.to_string()))?;
        let Document { models } = parse(&file, &text)?;
        for (index, entry) in models.iter().enumerate() {
            let key = |field: &str| format!("model[{index}].{field}");
            for (side, pixels) in [("width", entry.input.width), ("height", entry.input.height)] {
                if pixels == 0 || pixels % 32 != 0 || pixels > INPUT_MAX {
                    let text = format!("expected a multiple of 32, at most {INPUT_MAX}, found {pixels}");
                    return Err(ConfigError::new(&file, key(&format!("input.{side}")), text));
                }
            }
            let scale = entry.input.scale;
            if !scale.is_normal() || scale < 0.0 {
                let text = format!("expected a factor above zero, found {scale}");
                return Err(ConfigError::new(&file, key("input.scale"), text));
            }
            let strides = &entry.strides;
            let known = strides.iter().all(|stride| STRIDES.contains(stride));
            if strides.is_empty() || !known || !strides.is_sorted_by(|a, b| a < b) {
                let text = format!("expected some of {STRIDES:?}, finest first, found {strides:?}");
                return Err(ConfigError::new(&file, key("strides"), text));
            }
            if entry.head == Head::Classes && *strides != usual_strides() {
                let text = format!("expected none, since a classifier has no grids, found {strides:?}");
                return Err(ConfigError::new(&file, key("strides"), text));
            }
            let (rows, columns) = entry.head.shape(&entry.input, strides, entry.classes.len());
            for (side, expected, found) in
                [("rows", rows, entry.output.rows), ("columns", columns, entry.output.columns)]
            {
                if expected != found {
                    let of = format!("of head {:?} with {} classes", entry.head, entry.classes.len());
                    let text = format!("expected {expected} ({of}, grids of strides {strides:?}), found {found}");
                    return Err(ConfigError::new(&file, key(&format!("output.{side}")), text));
                }
            }
        }
        Ok(Self { path: path.to_owned(), models })
    }

    /// The entry of a name, or of the model file at a path: the entry whose hash or file name is that file's.
    ///
    /// # Errors
    /// [`ModelError::Unknown`] with the known names.
    pub fn find(&self, wanted: &str) -> Result<(Entry, PathBuf), ModelError> {
        if let Some(entry) = self.models.iter().find(|entry| entry.name == wanted) {
            return Ok((entry.clone(), self.file_of(entry)));
        }
        let path = Path::new(wanted);
        // Names come from the network, too: no device, no pipe, nothing larger than a model may be.
        let usable = std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() <= FILE_MAX);
        let hash = usable.then(|| std::fs::read(path).map(|bytes| sha256(&bytes)).unwrap_or_default());
        let hash = hash.unwrap_or_default();
        let by_hash = self.models.iter().find(|entry| entry.sha256 == hash);
        let by_name = || self.models.iter().find(|entry| entry.file.file_name() == path.file_name());
        let known = || self.models.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
        let manifest = || self.path.display().to_string();
        by_hash.or_else(by_name).map(|entry| (entry.clone(), path.to_owned())).ok_or_else(|| ModelError::Unknown {
            wanted: wanted.to_owned(),
            manifest: manifest(),
            known: known(),
        })
    }

    /// Where an entry's file lies: in the folder PICKET_MODELS if it is there, else relative to the manifest.
    pub fn file_of(&self, entry: &Entry) -> PathBuf {
        let name = entry.file.file_name().unwrap_or_default();
        let own = std::env::var_os("PICKET_MODELS").map(|folder| PathBuf::from(folder).join(name));
        let beside = self.path.parent().unwrap_or(Path::new(".")).join(&entry.file);
        own.filter(|path| path.exists()).unwrap_or(beside)
    }
}

/// Reads a model file and checks its hash.
///
/// # Errors
/// [`ModelError::Read`] or [`ModelError::Hash`].
pub fn read_verified(entry: &Entry, file: &Path) -> Result<Vec<u8>, ModelError> {
    let unread = |reason: String| ModelError::Read {
        name: entry.name.clone(),
        file: file.display().to_string(),
        reason,
        source_of: entry.source.clone(),
    };
    let size = std::fs::metadata(file).map_err(|e| unread(e.to_string()))?.len();
    if size > FILE_MAX {
        return Err(unread(format!("{size} bytes, the limit is {FILE_MAX}")));
    }
    let bytes = std::fs::read(file).map_err(|e| unread(e.to_string()))?;
    let found = sha256(&bytes);
    if found == entry.sha256 {
        return Ok(bytes);
    }
    let (name, expected) = (entry.name.clone(), entry.sha256.clone());
    Err(ModelError::Hash { name, file: file.display().to_string(), expected, found })
}

/// SHA-256, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
