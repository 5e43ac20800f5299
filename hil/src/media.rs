//! The real pictures, video and model that lie beside the project, and the saying-so where they are absent.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap_or_else(|_| PathBuf::from("."))
}

/// The media folder: PICKET_MEDIA, or `../shared/media` beside the project.
pub fn folder() -> Option<PathBuf> {
    let beside = root().join("../shared/media");
    let folder = std::env::var_os("PICKET_MEDIA").map_or(beside, PathBuf::from);
    folder.join("README.md").exists().then(|| folder.canonicalize().unwrap_or(folder))
}

/// The video of people walking through a room.
pub fn video() -> Option<PathBuf> {
    folder().map(|folder| folder.join("one-by-one-person-detection.mp4")).filter(|path| path.exists())
}

/// A JPEG that says that it has another size, as one that is to fill the memory does: height and width are five bytes behind
/// the start of its frame; `None`: it has none.
pub fn claims(mut jpeg: Vec<u8>, (width, height): (u16, u16)) -> Option<Vec<u8>> {
    let frame = jpeg.windows(2).position(|pair| matches!(pair, [0xFF, 0xC0 | 0xC2]))?;
    let [h0, h1] = height.to_be_bytes();
    let [w0, w1] = width.to_be_bytes();
    jpeg.get_mut(frame + 5..frame + 9)?.copy_from_slice(&[h0, h1, w0, w1]);
    Some(jpeg)
}

/// The media folder for a test; without it the test's name goes to the runner's list of skipped tests.
pub fn or_skip(test: &str) -> Option<PathBuf> {
    let found = folder();
    if found.is_none() {
        skip(test, "no ../shared/media and no PICKET_MEDIA");
    }
    found
}

/// Says that a test is skipped, and why: on stderr and in the runner's list.
pub fn skip(test: &str, why: &str) {
    eprintln!("{test} is skipped: {why}");
    if let Some(list) = std::env::var_os("PICKET_SKIPPED") {
        let file = std::fs::File::options().create(true).append(true).open(list);
        // The runner counts lines: one that cannot be written shows as passed, which stderr contradicts.
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}
