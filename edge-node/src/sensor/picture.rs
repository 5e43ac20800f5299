//! JPEG and PNG files and bytes into pictures. Untrusted: size limits are set before anything is allocated.

use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::frame::Picture;

/// Largest accepted side of a picture in pixels.
pub const SIDE_MAX: u32 = 8192;
/// Most pixels of one picture: 4096 × 3072, what a 12-megapixel camera gives; 36 MiB as R G B.
pub const PIXELS_MAX: u32 = 4096 * 3072;
/// Most memory one decode may take, in bytes: the largest picture with 16 bits a sample.
const ALLOC_MAX: u64 = 128 * 1024 * 1024;
/// Largest file of a picture, in bytes.
const FILE_MAX: u64 = 64 * 1024 * 1024;
/// Most scans of one JPEG: progressive ones have about ten. Each is a pass over the whole picture, however few its bytes are
/// (<https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf>).
const SCANS_MAX: usize = 64;
/// JPEG's marker of a start of scan, behind `FF`.
const SCAN: u8 = 0xDA;
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
    #[error("{place}: expected a whole JPEG or PNG of at most {SIDE_MAX} pixels a side, {PIXELS_MAX} in all: {reason}")]
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
    let unread = |reason: String| PictureError::Read { place: place.clone(), reason };
    // Before it is opened: a pipe would wait for its other end.
    let about = std::fs::metadata(path).map_err(|e| unread(e.to_string()))?;
    if !about.is_file() || about.len() > FILE_MAX {
        return Err(unread(format!("expected a file of at most {FILE_MAX} bytes, found {}", about.len())));
    }
    let bytes = std::fs::read(path).map_err(|e| unread(e.to_string()))?;
    decode(&bytes, &place)
}

/// Whether a picture of this size is taken.
pub const fn fits(width: u32, height: u32) -> bool {
    width <= SIDE_MAX && height <= SIDE_MAX && width.saturating_mul(height) <= PIXELS_MAX
}

/// Decodes JPEG or PNG bytes; `place` names them in errors.
///
/// # Errors
/// [`PictureError::Decode`].
pub fn decode(bytes: &[u8], place: &str) -> Result<Picture, PictureError> {
    let refused = |reason: String| PictureError::Decode { place: place.to_owned(), reason };
    let format = if bytes.starts_with(b"\x89PNG") { ImageFormat::Png } else { ImageFormat::Jpeg };
    if format == ImageFormat::Jpeg {
        if is_cut(bytes) {
            return Err(refused(format!("cut off at byte {}", bytes.len())));
        }
        // The marker is nowhere else but in a picture inside the picture.
        let scans = bytes.windows(2).filter(|pair| *pair == [0xFF, SCAN]).count();
        if scans > SCANS_MAX {
            return Err(refused(format!("it has {scans} scans, the limit is {SCANS_MAX}")));
        }
    }
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(ALLOC_MAX);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| refused(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if !fits(width, height) {
        return Err(refused(format!("it has {width} × {height}")));
    }
    let image = DynamicImage::from_decoder(decoder).map_err(|e| refused(e.to_string()))?.into_rgb8();
    Ok(Picture::rgb(image.width(), image.height(), image.into_raw()))
}

/// Whether a JPEG ends inside its scan: its last start-of-scan (FFDA) has no end-of-image (FFD9) behind it. The decoder
/// would fill the rest with grey, which looks like an empty zone.
fn is_cut(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xFF, marker]);
    last(SCAN).is_some_and(|scan| last(0xD9).is_none_or(|end| end < scan))
}
