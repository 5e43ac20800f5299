//! JPEG and PNG files and bytes into pictures. Untrusted: size limits are set before anything is allocated.

use std::path::Path;

use image::{ImageFormat, ImageReader, Limits};

use super::frame::Picture;

/// Largest accepted side of a picture in pixels.
pub const SIDE_MAX: u32 = 8192;
/// Most memory one decode may take, in bytes.
const ALLOC_MAX: u64 = 256 * 1024 * 1024;
/// File extensions that are pictures, lower case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Why a picture was refused. The source goes on with its next one.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file could not be read.
    #[error("{place}: cannot be read: {reason}")]
    Read {
        /// File or URL.
        place: String,
        /// The system's error.
        reason: String,
    },
    /// The bytes are not a whole JPEG or PNG, or it is too large.
    #[error("{place}: expected a whole JPEG or PNG of at most {SIDE_MAX} pixels a side: {reason}")]
    Decode {
        /// File or URL and frame.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// Whether a file's name says it is a picture.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Reads a picture file.
///
/// # Errors
/// [`PictureError`] naming the file.
pub fn read(path: &Path) -> Result<Picture, PictureError> {
    let place = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| PictureError::Read { place: place.clone(), reason: e.to_string() })?;
    decode(&bytes, &place)
}

/// Decodes JPEG or PNG bytes; `place` names them in errors.
///
/// # Errors
/// [`PictureError::Decode`].
pub fn decode(bytes: &[u8], place: &str) -> Result<Picture, PictureError> {
    let refused = |reason: String| PictureError::Decode { place: place.to_owned(), reason };
    let format = if bytes.starts_with(b"\x89PNG") { ImageFormat::Png } else { ImageFormat::Jpeg };
    if format == ImageFormat::Jpeg && is_cut(bytes) {
        return Err(refused(format!("cut off at byte {}", bytes.len())));
    }
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(ALLOC_MAX);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| refused(e.to_string()))?.into_rgb8();
    Ok(Picture::rgb(image.width(), image.height(), image.into_raw()))
}

/// Whether a JPEG ends inside its scan: its last start-of-scan (FFDA) has no end-of-image (FFD9) behind it. The decoder
/// would fill the rest with grey, which looks like an empty zone.
fn is_cut(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xFF, marker]);
    last(0xDA).is_some_and(|scan| last(0xD9).is_none_or(|end| end < scan))
}
