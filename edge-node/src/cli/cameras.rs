//! `edge-node cameras`: the cameras at this machine, and what they offer.

use std::io::Write;
use std::path::PathBuf;

use nokhwa::query;
use nokhwa::utils::{ApiBackend, CameraIndex};
use v4l::Device;

use crate::sensor::camera::offer::V4l2Config;
use crate::sensor::camera::v4l2;

/// Runs the command.
///
/// # Errors
/// The system does not list its cameras.
pub fn run() -> anyhow::Result<()> {
    let cameras = query(ApiBackend::Video4Linux).map_err(|error| anyhow::anyhow!("list cameras: {error}"))?;
    let mut out = std::io::stdout().lock();
    for camera in &cameras {
        let CameraIndex::Index(index) = camera.index() else { continue };
        let path = PathBuf::from(format!("/dev/video{index}"));
        writeln!(out, "v4l2:{}\t{}", path.display(), camera.human_name())?;
        let offers = Device::with_path(&path).map(|device| v4l2::offers(&device, &V4l2Config::default()));
        match offers {
            // A second node of the same camera, for what is no picture.
            Ok(offers) if offers.is_empty() => writeln!(out, "\tno YUYV and no MJPEG")?,
            Ok(offers) => offers.iter().try_for_each(|offer| writeln!(out, "\t{offer}"))?,
            Err(error) => writeln!(out, "\tcannot be opened: {error}")?,
        }
    }
    if cameras.is_empty() {
        writeln!(out, "no camera at this machine")?;
    }
    Ok(())
}
