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
    #[error("{place}: cannot be read: {source}")]
    Read {
        /// File or URL.
        place: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The bytes are not a whole JPEG or PNG, or it is too large.
    #[error("{place}: expected a whole JPEG or PNG of at most {SIDE_MAX} pixels a side: {source}")]
    Decode {
        /// File or URL and frame.
        place: String,
        /// The decoder's error.
        source: image::ImageError,
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
    let bytes = std::fs::read(path).map_err(|source| PictureError::Read { place: place.clone(), source })?;
    decode(&bytes, &place)
}

/// Decodes JPEG or PNG bytes; `place` names them in errors.
///
/// # Errors
/// [`PictureError::Decode`].
pub fn decode(bytes: &[u8], place: &str) -> Result<Picture, PictureError> {
    let refused = |source| PictureError::Decode { place: place.to_owned(), source };
    let format = if bytes.starts_with(b"\x89PNG") { ImageFormat::Png } else { ImageFormat::Jpeg };
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(ALLOC_MAX);
    reader.limits(limits);
    let image = reader.decode().map_err(refused)?.into_rgb8();
    Ok(Picture { width: image.width(), height: image.height(), rgb: image.into_raw() })
}
