//! What the stages did, as counters, served at `/metrics`. Any stage may count; nothing here decides.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// One label: the camera, link, lane or reason a count is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Of {
    /// Its name.
    pub name: String,
}

impl Of {
    /// A label.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

/// A family of counters.
pub type Counts = Family<Of, Counter>;
/// Upper ends of the buckets of times, in seconds: fine where the promises are.
const TIMES_S: [f64; 20] = [
    0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0,
];

/// A family of distributions of time, in seconds.
#[derive(Debug, Clone)]
pub struct Times(Family<Of, Histogram, fn() -> Histogram>);

impl Default for Times {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(TIMES_S)))
    }
}

impl Times {
    /// One more.
    pub fn observe(&self, of: &Of, time: Duration) {
        self.0.get_or_create(of).observe(time.as_secs_f64());
    }
}

/// A family of gauges.
pub type Gauges = Family<Of, Gauge>;

/// The node's counters. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Sessions with cameras, and with the streams of their clips, that could not be opened or ended in an error, by camera.
    pub sessions_failed: Counts,
    /// Age of a frame when the detector takes it, by camera.
    pub frame_age: Times,
    /// Time from a frame's capture to the hand-over of its events to the journal, by camera.
    pub frame_told: Times,
    /// Time from a frame's capture until the events of its tracks are on disk, by camera.
    pub frame_kept: Times,
    /// Frames that reached the mailbox, by camera.
    pub frames: Counts,
    /// Frames dropped because the detector was slower, by camera.
    pub frames_dropped: Counts,
    /// Pictures that could not be read or decoded, by camera.
    pub frames_bad: Counts,
    /// Frames beyond `detect_fps`, by camera.
    pub frames_skipped: Counts,
    /// Frames in which nothing moved: the detector was spared, by camera.
    pub frames_still: Counts,
    /// Frames of which a part was looked at, by camera.
    pub frames_part: Counts,
    /// Frames that were too old when their turn came, by camera.
    pub frames_late: Counts,
    /// Frames that are no evidence, by camera.
    pub frames_doubted: Counts,
    /// Detections, by camera.
    pub detections: Counts,
    /// Inferences that failed, by camera.
    pub inference_failures: Counts,
    /// Models that could not be loaded.
    pub model_failures: Counter,
    /// Valid MAVLink packets, by link.
    pub mavlink_packets: Counts,
    /// Bytes that belong to no valid packet, by link.
    pub mavlink_garbage_bytes: Counts,
    /// Packets that were not taken, by link and reason.
    pub mavlink_refused: Counts,
    /// Batches of packets the vehicles' thread had no room for, by link.
    pub mavlink_lost: Counts,
    /// Inputs the interlock's queue had no room for.
    pub interlock_inputs_lost: Counter,
    /// Demand packets written by the safety thread.
    pub demands_sent: Counter,
    /// Demand packets the socket refused.
    pub demands_failed: Counter,
    /// Safety events that found no room at the clerk's desk.
    pub safety_events_lost: Counter,
    /// Batches of packets that the telemetry log had no room for.
    pub tlog_lost: Counter,
    /// Longest time between two passes of the safety loop, microseconds.
    pub safety_loop_max_us: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Events refused at HTTP, by reason.
    pub http_refused: Counts,
    /// Events waiting for the relay, by lane.
    pub backlog: Gauges,
    /// Batches acknowledged by the relay.
    pub batches: Counter,
    /// Requests to the relay that failed.
    pub uplink_failures: Counter,
    /// Events committed to the journal.
    pub journal_events: Gauge<u64, AtomicU64>,
    /// Events the journal lost, by reason.
    pub journal_lost: Gauges,
    /// Places whose bytes are not what was written, as the last pass over the journal found them, by lane.
    pub journal_damaged: Gauges,
    /// Passes over the journal.
    pub journal_scrubs: Counter,
    /// Bytes of pictures and clips sent, those sent twice included.
    pub media_bytes: Counter,
    /// Clips and pictures kept, by media type.
    pub footage: Counts,
    /// Units of streams and pictures that the thread of clips had no room for.
    pub footage_lost: Counter,
    /// Pictures kept for training, by camera.
    pub hard_frames: Counts,
    /// Looks that the thread of the models had no time for.
    pub looks_lost: Counter,
    /// Clips and pictures that could not be kept.
    pub footage_failures: Counter,
    /// Messages from the centre, by what became of them.
    pub downlink: Counts,
    registry: Arc<Registry>,
}

impl Metrics {
    /// Fresh counters, registered.
    pub fn new() -> Self {
        let mut m = Self::default();
        let mut r = Registry::with_prefix("picket");
        r.register("camera_frames", "Frames received", m.frames.clone());
        r.register("camera_frame_age_seconds", "Age of frames when the detector takes them", m.frame_age.0.clone());
        r.register("camera_frame_told_seconds", "Capture of a frame to its events", m.frame_told.0.clone());
        r.register("camera_frame_kept_seconds", "Capture of a frame to its tracks on disk", m.frame_kept.0.clone());
        r.register("camera_sessions_failed", "Sessions that ended in an error", m.sessions_failed.clone());
        r.register("camera_frames_dropped", "Frames dropped before the detector", m.frames_dropped.clone());
        r.register("camera_frames_bad", "Pictures that could not be decoded", m.frames_bad.clone());
        r.register("camera_frames_skipped", "Frames beyond detect_fps", m.frames_skipped.clone());
        r.register("camera_frames_still", "Frames in which nothing moved", m.frames_still.clone());
        r.register("camera_frames_part", "Frames of which a part was looked at", m.frames_part.clone());
        r.register("camera_frames_late", "Frames too old when their turn came", m.frames_late.clone());
        r.register("camera_frames_doubted", "Frames that prove nothing", m.frames_doubted.clone());
        r.register("detections", "Objects detected", m.detections.clone());
        r.register("inference_failures", "Inferences that failed", m.inference_failures.clone());
        r.register("model_failures", "Models that could not be loaded", m.model_failures.clone());
        r.register("mavlink_packets", "Valid packets", m.mavlink_packets.clone());
        r.register("mavlink_garbage_bytes", "Bytes outside valid packets", m.mavlink_garbage_bytes.clone());
        r.register("mavlink_refused", "Packets not taken", m.mavlink_refused.clone());
        r.register("mavlink_lost_batches", "Batches of packets without room", m.mavlink_lost.clone());
        r.register("interlock_inputs_lost", "Inputs without room", m.interlock_inputs_lost.clone());
        r.register("interlock_demands_sent", "Demand packets written", m.demands_sent.clone());
        r.register("interlock_demands_failed", "Demand packets refused by the socket", m.demands_failed.clone());
        r.register("tlog_lost_batches", "Batches without room in the telemetry log", m.tlog_lost.clone());
        r.register("safety_events_lost", "Safety events without room", m.safety_events_lost.clone());
        r.register("safety_loop_max_us", "Longest pass of the safety loop", m.safety_loop_max_us.clone());
        r.register("http_events_refused", "Events refused at HTTP", m.http_refused.clone());
        r.register("uplink_backlog_events", "Events waiting for the relay", m.backlog.clone());
        r.register("uplink_batches", "Batches acknowledged", m.batches.clone());
        r.register("uplink_failures", "Requests to the relay that failed", m.uplink_failures.clone());
        r.register("journal_events", "Events committed", m.journal_events.clone());
        r.register("journal_events_lost", "Events lost", m.journal_lost.clone());
        r.register("journal_damaged_places", "Damaged places of the last scrub", m.journal_damaged.clone());
        r.register("journal_scrubs", "Passes over the journal", m.journal_scrubs.clone());
        r.register("media_sent_bytes", "Bytes of media sent", m.media_bytes.clone());
        r.register("footage", "Clips and pictures kept", m.footage.clone());
        r.register("footage_lost", "Units and pictures without room", m.footage_lost.clone());
        r.register("hard_frames", "Pictures kept for training", m.hard_frames.clone());
        r.register("model_looks_lost", "Looks without room", m.looks_lost.clone());
        r.register("footage_failures", "Clips and pictures that could not be kept", m.footage_failures.clone());
        r.register("downlink_messages", "Messages from the centre", m.downlink.clone());
        m.registry = Arc::new(r);
        m
    }

    /// The OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
