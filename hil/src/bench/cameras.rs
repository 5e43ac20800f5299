//! `./dev bench cameras`: eight cameras of 720p over RTSP on one node, every picture decoded: what it costs, how old pictures
//! are when the detector takes them, and whether everybody who came was found.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use shared::units::UtcMicros;

use super::{Target, last_line, round};
use crate::drawn::render;
use crate::kafka::cache;
use crate::media;
use crate::process::{cpu, output};
use crate::rtsp::Cameras;
use crate::servers::Place;
use crate::site::{Plan, Ports, Site};
use crate::wait::{now, until};

const CAMERAS: usize = 8;
/// How long it is watched, and before that until it has learnt its backgrounds.
const WATCHED: Duration = Duration::from_secs(60);
const WARM_UP: Duration = Duration::from_secs(10);
/// Pictures a second of every camera.
const FPS: u32 = 10;
/// Somebody is found within this time of coming, seconds.
const APART_S: f64 = 1.5;
/// Length of the drawn clip, pictures.
const CLIP: usize = 900;

/// One setting.
struct Setting {
    model: &'static str,
    video: PathBuf,
    /// When somebody comes, seconds from its beginning.
    comings: Vec<f64>,
    /// Least score of who counts, as its card says.
    min_score: f32,
    /// Text of each camera.
    more: &'static str,
    cores: f64,
    age_p99_ms: f64,
    /// Oldest picture a detector may have seen, and how many may be replaced unseen, in a hundred; none: reported only.
    strict: bool,
}

/// Measures and prints.
///
/// # Errors
/// When a video cannot be made, or something does not start.
pub async fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let (video, comings) = drawn()?;
    let mut settings = vec![Setting {
        model: "yard",
        video,
        comings,
        min_score: 0.6,
        more: "",
        cores: 1.3,
        age_p99_ms: 150.0,
        strict: true,
    }];
    if let Some(video) = media::video() {
        let (comings, video, more) = (real_comings(&video)?, enlarged(&video)?, "motion = {}\n");
        settings.push(Setting {
            model: "yolox-nano",
            video,
            comings,
            min_score: 0.0,
            more,
            cores: 1.6,
            age_p99_ms: 250.0,
            strict: false,
        });
    }
    for setting in &settings {
        measure(setting, out).await?;
    }
    Ok(())
}

/// People who walk through a drawn yard, one after the other.
fn drawn() -> anyhow::Result<(PathBuf, Vec<f64>)> {
    let (video, labels) = (cache().join("yard-720p.mp4"), cache().join("yard-720p.json"));
    if !video.exists() || !labels.exists() {
        let folder = tempfile::TempDir::with_prefix("picket-clip-").context("make a folder")?;
        let fps = FPS.to_string();
        let size = ["--width", "1280", "--height", "720", "--clip", &fps];
        render(folder.path(), "3000007", CLIP, &size)?;
        let mut encode = Command::new("ffmpeg");
        encode.args(["-framerate", &FPS.to_string(), "-i"]).arg(folder.path().join("images/%06d.jpg"));
        into_video(&mut encode, &video)?;
        let present = (0..CLIP).map(|n| {
            let lines = std::fs::read_to_string(folder.path().join(format!("labels/{n:06}.txt")));
            lines.is_ok_and(|lines| lines.lines().any(|line| line.starts_with("0 ")))
        });
        let starts = comings(&present.collect::<Vec<_>>(), f64::from(FPS));
        std::fs::write(&labels, serde_json::to_string(&starts)?).context("keep when somebody comes")?;
    }
    let text = std::fs::read_to_string(&labels).context("read when somebody comes")?;
    Ok((video, serde_json::from_str(&text).context("read when somebody comes")?))
}

/// When somebody comes who was not there for the two seconds before, seconds.
fn comings(present: &[bool], fps: f64) -> Vec<f64> {
    let (mut starts, mut last) = (Vec::new(), f64::NEG_INFINITY);
    for (n, _) in present.iter().enumerate().filter(|(_, present)| **present) {
        let now = n as f64 / fps;
        if now - last > 2.0 {
            starts.push(now);
        }
        last = now;
    }
    starts
}

/// The same for the real video, by the reference beside it: one score a second.
fn real_comings(video: &Path) -> anyhow::Result<Vec<f64>> {
    let text = std::fs::read_to_string(video.with_extension("expected.json")).context("read what is expected")?;
    let expected: Value = serde_json::from_str(&text).context("read what is expected")?;
    let scores =
        expected.get("max_person_score_per_second").and_then(Value::as_array).context("read what is expected")?;
    Ok(comings(&scores.iter().map(|score| score.as_f64().is_some_and(|score| score > 0.0)).collect::<Vec<_>>(), 1.0))
}

/// A real video at 720p, made once.
///
/// # Errors
/// When ffmpeg cannot make it.
pub fn enlarged(from: &Path) -> anyhow::Result<PathBuf> {
    let video = cache().join("room-720p.mp4");
    if !video.exists() {
        let mut encode = Command::new("ffmpeg");
        into_video(encode.arg("-i").arg(from), &video)?;
    }
    Ok(video)
}

/// H.264 as cameras send it: High, no B-frames, a key frame every two seconds.
fn into_video(encode: &mut Command, video: &Path) -> anyhow::Result<()> {
    let part = video.with_extension("part.mp4");
    encode.args([
        "-nostdin",
        "-y",
        "-loglevel",
        "error",
        "-an",
        "-vf",
        "scale=1280:720:flags=bicubic,fps=10,format=yuv420p",
    ]);
    encode.args(["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-crf", "23", "-g", "20"]);
    // What a camera of this size is set to; drawn noise would take ten times that.
    encode.args(["-maxrate", "2500k", "-bufsize", "2500k"]);
    output(encode.args(["-keyint_min", "20", "-sc_threshold", "0", "-bf", "0"]).arg(&part))?;
    std::fs::rename(&part, video).context("keep the video")
}

/// What the node's metrics say of one distribution, all cameras together: by upper end of its bucket, how many.
fn buckets(text: &str, name: &str) -> BTreeMap<u64, u64> {
    let mut found = BTreeMap::new();
    let prefix = format!("{name}_bucket{{");
    for line in text.lines().filter_map(|line| line.strip_prefix(&prefix)) {
        let end = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        // Infinity is no duration.
        let end = end.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()).map_or(u64::MAX, millis);
        let count: u64 = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        *found.entry(end).or_insert(0) += count;
    }
    found
}

/// Upper end of the bucket that a share of the values lies below, milliseconds.
fn share_ms(before: &BTreeMap<u64, u64>, after: &BTreeMap<u64, u64>, share: f64) -> f64 {
    let grown = |end: &u64| after.get(end).unwrap_or(&0) - before.get(end).unwrap_or(&0);
    let all = grown(&u64::MAX);
    let enough = after.keys().find(|end| grown(end) as f64 >= all as f64 * share);
    enough.map_or(f64::NAN, |end| if *end == u64::MAX { f64::INFINITY } else { *end as f64 })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Sum of a counter over all cameras.
fn sum(text: &str, name: &str) -> f64 {
    let prefix = format!("{name}_total{{");
    text.lines()
        .filter(|line| line.starts_with(&prefix))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// A camera and its zone.
fn camera(name: &str, url: &str, more: &str, min_score: f32) -> String {
    format!(
        "\n[[camera]]\nname = \"{name}\"\nsource = \"{url}\"\nclip = {{}}\n{more}\n[[zone]]\nname = \"{name}\"\ncamera = \"{name}\"\n\
         polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\nclear_after = \"2s\"\nmin_score = {min_score}\n"
    )
}

async fn measure(setting: &Setting, out: &mut impl Write) -> anyhow::Result<()> {
    let folder = tempfile::TempDir::with_prefix("picket-cameras-").context("make a folder")?;
    let names: Vec<String> = (0..CAMERAS).map(|n| format!("c{n}")).collect();
    let mounts: Vec<(&str, &Path)> = names.iter().map(|name| (name.as_str(), setting.video.as_path())).collect();
    let cameras = Cameras::start(crate::process::free_tcp_port()?, &mounts, &[], folder.path())?;
    let node: String =
        names.iter().map(|name| camera(name, &cameras.url(name), setting.more, setting.min_score)).collect();
    let place = Place { postgres: String::new(), kafka: String::new(), topic_prefix: String::new() };
    let plan = Plan { node, model: true, detector: Some(setting.model.into()), plain: true, ..Plan::default() };
    let mut site = Site::prepare(place, Ports::free()?, &plan, None)?;
    site.start_node()?;
    let node = site.node.as_ref().context("find the node")?.id();
    tokio::time::sleep(WARM_UP).await;
    let (begun, busy, senders, before) = (now(), cpu(node)?, cpu(cameras.id())?, site.metrics().await?);
    tokio::time::sleep(WATCHED).await;
    let (wall, after) = (begun.elapsed().as_secs_f64(), site.metrics().await?);
    let cores = (cpu(node)? - busy).as_secs_f64() / wall;
    let sending = (cpu(cameras.id())? - senders).as_secs_f64() / wall;
    let (rss, _) = site.node.as_ref().context("find the node")?.memory_mib()?;
    let grown = |name: &str| sum(&after, name) - sum(&before, name);
    let (age, told, kept) =
        ("picket_camera_frame_age_seconds", "picket_camera_frame_told_seconds", "picket_camera_frame_kept_seconds");
    let spread = |name: &str| (buckets(&before, name), buckets(&after, name));
    let (ages, tolds, kepts) = (spread(age), spread(told), spread(kept));
    let frames = grown("picket_camera_frames");
    let unseen = grown("picket_camera_frames_dropped") + grown("picket_camera_frames_late");
    let episodes = episodes(&site)?;
    // The video begins when the first camera is asked; who came in the last seconds may still be unseen.
    let seen = begun.elapsed().as_secs_f64() + WARM_UP.as_secs_f64() - 4.0;
    let expected: Vec<f64> = setting.comings.iter().copied().filter(|start| *start < seen).collect();
    let least = names.iter().map(|name| found(episodes.get(name).map_or(&[], Vec::as_slice), &expected)).min();
    site.node.take().context("stop the node")?.stop(Duration::from_secs(15))?;
    let metrics = json!({
        "model": setting.model,
        "cores": round(cores),
        "senders_cores": round(sending),
        "frames_per_s": round(frames / wall),
        "age_p50_ms": share_ms(&ages.0, &ages.1, 0.5),
        "age_p99_ms": share_ms(&ages.0, &ages.1, 0.99),
        "age_max_ms": share_ms(&ages.0, &ages.1, 1.0),
        "told_p99_ms": share_ms(&tolds.0, &tolds.1, 0.99),
        "tracks_on_disk_p50_ms": share_ms(&kepts.0, &kepts.1, 0.5),
        "tracks_on_disk_p99_ms": share_ms(&kepts.0, &kepts.1, 0.99),
        "unseen_pct": round(unseen / frames * 100.0),
        "still_pct": round(grown("picket_camera_frames_still") / frames * 100.0),
        "part_pct": round(grown("picket_camera_frames_part") / frames * 100.0),
        "episodes_expected": expected.len(),
        "episodes_found_least": least,
        "episodes_most": episodes.values().map(Vec::len).max().unwrap_or(0),
        "rss_mib": round(rss),
    });
    writeln!(
        out,
        "{CAMERAS} cameras, 1280 x 720, {FPS} pictures a second, {} ({}); {wall:.0} s, every picture decoded, one detector thread",
        setting.model,
        if setting.more.is_empty() { "every picture looked at" } else { "motion gate" }
    )?;
    for (name, value) in metrics.as_object().into_iter().flatten().skip(1) {
        writeln!(out, "{name:<24}{value:>10}")?;
    }
    let mut targets = vec![
        Target::Least("episodes_found_least", expected.len() as f64),
        Target::Most("cores", setting.cores),
        Target::Most("age_p99_ms", setting.age_p99_ms),
        Target::Most("rss_mib", 250.0),
    ];
    if setting.strict {
        targets.extend([Target::Most("age_max_ms", 300.0), Target::Most("unseen_pct", 1.0)]);
    }
    last_line(out, "cameras", &metrics, &targets)
}

/// How many of those who come are found when they come: comings in seconds of the video, episodes in seconds of the day. When
/// the video began is not known: whatever makes the most of them fit.
fn found(episodes: &[f64], comings: &[f64]) -> usize {
    let begins = episodes.iter().flat_map(|episode| comings.iter().map(move |coming| episode - coming));
    let fit = |begin: f64| {
        let there = |coming: &&f64| episodes.iter().any(|episode| (episode - begin - **coming).abs() <= APART_S);
        comings.iter().filter(there).count()
    };
    begins.map(fit).max().unwrap_or(0)
}

/// When presence began, by camera, from the node's journal: seconds.
fn episodes(site: &Site) -> anyhow::Result<BTreeMap<String, Vec<f64>>> {
    let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let events = until("the journal to be read", Duration::from_secs(10), || {
        site.inspect(&["events", "--json", "--type", "zone.occupied"]).map_err(|error| format!("{error:#}"))
    })?;
    for event in events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let zone = event.pointer("/data/zone").and_then(Value::as_str).unwrap_or_default().to_owned();
        let time = event.get("time").and_then(Value::as_str).and_then(|time| UtcMicros::parse_rfc3339(time).ok());
        found.entry(zone).or_default().push(time.context("read the time of an episode")?.0 as f64 / 1e6);
    }
    Ok(found)
}
