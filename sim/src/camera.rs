//! A camera: MJPEG over HTTP, replaying a video or a folder of pictures in a loop.
//!
//! Videos are decoded by ffmpeg, not by the decoder under test.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::broadcast;
use tracing::warn;

use crate::scenario::Camera;

/// Pictures kept for a slow viewer; full means it misses the oldest, as on a real camera.
const QUEUE: usize = 4;
const BOUNDARY: &str = "picket-frame";

/// Serves a camera for ever.
///
/// # Errors
/// When its address is taken or its source cannot be played.
pub async fn run(config: Camera) -> anyhow::Result<()> {
    let (pictures, _) = broadcast::channel::<Bytes>(QUEUE);
    let listener = TcpListener::bind(config.listen).await.context("bind a camera's address")?;
    let viewers = pictures.clone();
    let path = format!("/{}", config.name);
    let routes = Router::new().route(&path, get(move || async move { stream(viewers.subscribe()) }));
    let source = config.source.clone();
    let play = async {
        loop {
            if source.is_dir() {
                play_folder(&source, config.fps, &pictures).await?;
            } else {
                play_video(&source, config.fps, &pictures).await?;
            }
        }
    };
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => served.context("serve a camera"),
        played = play => played,
    }
}

fn stream(pictures: broadcast::Receiver<Bytes>) -> Response {
    let parts = futures_util::stream::unfold(pictures, |mut pictures| async move {
        loop {
            match pictures.recv().await {
                Ok(jpeg) => {
                    let head =
                        format!("--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
                    let part = [head.as_bytes(), &jpeg, b"\r\n"].concat();
                    return Some((Ok::<_, std::convert::Infallible>(part), pictures));
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    ([(CONTENT_TYPE, kind)], Body::from_stream(parts)).into_response()
}

async fn play_folder(folder: &Path, fps: u32, pictures: &broadcast::Sender<Bytes>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read folder {}", folder.display()))?;
    let is_jpeg = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("jpg"));
    let mut files: Vec<_> = entries.flatten().map(|e| e.path()).filter(|path| is_jpeg(path)).collect();
    files.sort();
    anyhow::ensure!(!files.is_empty(), "play folder {}: it has no .jpg", folder.display());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / fps);
    for file in files {
        ticks.tick().await;
        // No viewer is no failure.
        let _ = pictures.send(tokio::fs::read(&file).await.context("read a picture")?.into());
    }
    Ok(())
}

async fn play_video(file: &Path, fps: u32, pictures: &broadcast::Sender<Bytes>) -> anyhow::Result<()> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-threads", "1", "-re", "-i"]).arg(file);
    ffmpeg.args(["-an", "-r", &fps.to_string(), "-q:v", "2", "-f", "image2pipe", "-c:v", "mjpeg", "-"]);
    let mut child = ffmpeg.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("start ffmpeg")?;
    let mut out = child.stdout.take().context("read ffmpeg")?;
    let (mut buffer, mut chunk, mut shown) = (Vec::new(), vec![0; 64 * 1024], 0u64);
    loop {
        let len = out.read(&mut chunk).await.context("read ffmpeg")?;
        if len == 0 {
            break;
        }
        buffer.extend_from_slice(chunk.get(..len).unwrap_or_default());
        while let Some(jpeg) = take_jpeg(&mut buffer) {
            shown += 1;
            let _ = pictures.send(jpeg.into());
        }
    }
    let status = child.wait().await.context("wait for ffmpeg")?;
    anyhow::ensure!(shown > 0, "play {}: ffmpeg gave no picture ({status})", file.display());
    if !status.success() {
        warn!(%status, "ffmpeg failed");
    }
    Ok(())
}

/// Cuts the first whole JPEG off: from SOI (FFD8) to EOI (FFD9), which cannot occur inside entropy-coded data.
fn take_jpeg(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = buffer.windows(2).position(|pair| pair == [0xFF, 0xD9])? + 2;
    Some(buffer.drain(..end).collect())
}
