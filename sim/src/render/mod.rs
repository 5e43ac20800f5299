//! Labelled pictures of a simulated yard: for training, for measuring, and for a demo without real footage.
//!
//! A scene is drawn in space (`figure`, `machines`, `place`), looked at by a pinhole camera (`space`, `canvas`), and
//! spoilt as a camera would (`weather`). The same seed gives the same pictures on every machine.

pub mod space;
pub mod canvas;
pub mod shape;
pub mod figure;
pub mod machines;
pub mod place;
pub mod weather;
pub mod scene;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use image::codecs::jpeg::JpegEncoder;

use scene::{CLASSES, Label, Scene};
use space::Dice;
use weather::Shot;

/// What is rendered.
#[derive(Debug, Clone)]
pub struct Order {
    /// Folder: `images/`, `labels/` (YOLO format), `unsure/` (things that are mostly hidden), `postures/` (a word for each line of
    /// `labels/`, - for what is nobody), `names.yaml`.
    pub folder: PathBuf,
    /// Pictures.
    pub count: u32,
    /// Seed of the first; each further picture has the next.
    pub seed: u64,
    /// Pixels across and down, even numbers.
    pub size: (usize, usize),
    /// One clip of so many pictures a second instead of a scene each.
    pub clip_fps: Option<f32>,
}

/// Renders.
///
/// # Errors
/// The disk's.
pub fn run(order: &Order) -> anyhow::Result<()> {
    for name in ["images", "labels", "unsure", "postures"] {
        std::fs::create_dir_all(order.folder.join(name)).context("make the folders")?;
    }
    let mut names = String::from("names:\n");
    for (class, name) in CLASSES.iter().enumerate() {
        writeln!(names, "  {class}: {name}").context("write names")?;
    }
    std::fs::write(order.folder.join("names.yaml"), names).context("write names.yaml")?;
    let clip = order.clip_fps.map(|fps| (Scene::clip(order.seed, order.size, order.count as f32 / fps), fps));
    for number in 0..order.count {
        let seed = order.seed + u64::from(number);
        let (shot, labels) = match &clip {
            Some((scene, fps)) => scene.at(number as f32 / fps),
            None => Scene::still(seed, order.size).at(0.0),
        };
        // Cameras differ in how hard they compress; a clip is one camera's.
        let quality = if clip.is_some() { 90 } else { u8::try_from(45 + Dice::new(!seed).below(50)).unwrap_or(90) };
        write(&order.folder, number, &shot, quality, &labels).with_context(|| format!("write picture {number}"))?;
    }
    Ok(())
}

fn write(folder: &Path, number: u32, shot: &Shot, quality: u8, labels: &[Label]) -> anyhow::Result<()> {
    let name = format!("{number:06}");
    let mut jpeg = Vec::new();
    let (width, height) = (u32::try_from(shot.width)?, u32::try_from(shot.height)?);
    JpegEncoder::new_with_quality(&mut jpeg, quality).encode(
        &shot.rgb,
        width,
        height,
        image::ExtendedColorType::Rgb8,
    )?;
    std::fs::write(folder.join(format!("images/{name}.jpg")), jpeg)?;
    for (kind, sure) in [("labels", true), ("unsure", false)] {
        let lines: String = labels.iter().filter(|label| label.counts() == sure).map(line).collect();
        std::fs::write(folder.join(format!("{kind}/{name}.txt")), lines)?;
    }
    let postures = labels.iter().filter(|label| label.counts()).map(|label| label.posture.unwrap_or("-"));
    let postures: String = postures.flat_map(|word| [word, "\n"]).collect();
    std::fs::write(folder.join(format!("postures/{name}.txt")), postures)?;
    Ok(())
}

/// Class, centre and size, shares of the picture's sides.
fn line(Label { class, box_xyxy: [left, top, right, bottom], .. }: &Label) -> String {
    let (x, y, w, h) = ((left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top);
    format!("{class} {x:.5} {y:.5} {w:.5} {h:.5}\n")
}
