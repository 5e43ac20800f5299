//! The facts Picket speaks of: the envelope and one payload type per event type.
//!
//! Within a schema version, variants and fields are only ever appended. To add an event type follow the checklist in
//! CONTRIBUTING.md. The byte form is in `record`, the JSON form at the rim in `cloudevent`.

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

use crate::ids::{EventId, Lane, TraceId};
pub use crate::safety::{
    CommandDecided, CommandEnded, CommandRequested, EstopChanged, InterlockChange, InterlockDemanded, LeaseChanged,
    OutputChanged,
};
pub use crate::seen::{
    CameraHealth, CameraState, CameraViewChanged, DetectionTrack, InferenceDone, LineCrossed, ModelChanged,
    ModelCompared, ModelDrifted, TrackClassified, TrackEnded, TrackPhase, ZoneDwelt, ZonePresence,
};
use crate::units::{ClockState, Uptime, UtcMicros};

/// When a fact was seen: wall clock, how far to trust it, and the boot-relative time that can correct it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurred {
    /// Wall-clock time.
    pub at: UtcMicros,
    /// Trustworthiness of `at`.
    pub clock: ClockState,
    /// The kernel's random id of this boot.
    pub boot_id: [u8; 16],
    /// Time since that boot.
    pub uptime: Uptime,
}

/// One fact, as the node knows it. Its place (node, epoch, lane, seq) is given by the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Names the event everywhere.
    pub event_id: EventId,
    /// What it is about: `camera/gate`, `vehicle/1`.
    pub aggregate_id: String,
    /// When it was seen.
    pub occurred: Occurred,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// The event that caused this one.
    pub cause_id: Option<EventId>,
    /// What happened.
    pub payload: Payload,
}

/// The type of events from outside, in the table of types.
const CUSTOM: &str = "custom";

macro_rules! payloads {
    ($($(#[$doc:meta])* $variant:ident($body:ty) = $id:literal, $name:literal, v $version:literal, $lane:ident;)*) => {
        /// What happened: one variant per event type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Payload { $($(#[$doc])* $variant($body),)* }

        impl Payload {
            /// Number of the event type on the wire; never reused.
            pub const fn type_id(&self) -> u16 { match self { $(Self::$variant(_) => $id,)* } }

            /// Version of the payload's layout.
            pub const fn schema_version(&self) -> u16 { match self { $(Self::$variant(_) => $version,)* } }

            /// Dotted event type; for events from outside, the type they came with.
            pub fn event_type(&self) -> &str {
                match self { Self::Custom(body) => &body.event_type, $(#[allow(unreachable_patterns, reason = "Custom is matched above")] Self::$variant(_) => $name,)* }
            }

            /// The lane that carries this type.
            pub const fn lane(&self) -> Lane { match self { $(Self::$variant(_) => Lane::$lane,)* } }

            /// Postcard bytes of the payload alone.
            ///
            /// # Errors
            /// Only if serialisation itself fails, which no payload type provokes.
            pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
                match self { $(Self::$variant(body) => postcard::to_stdvec(body),)* }
            }

            /// Reads the payload of a type and version this build knows; `None` for any other.
            ///
            /// # Errors
            /// When the bytes are not a payload of that type.
            pub fn from_bytes(type_id: u16, version: u16, bytes: &[u8]) -> Result<Option<Self>, postcard::Error> {
                match (type_id, version) {
                    $(($id, $version) => postcard::from_bytes(bytes).map(|body| Some(Self::$variant(body))),)*
                    _ => Ok(None),
                }
            }

            /// The payload as JSON, for the rim.
            pub fn to_json(&self) -> serde_json::Value {
                let made = match self {
                    Self::Custom(body) => serde_json::from_str(&body.json),
                    $(#[allow(unreachable_patterns, reason = "Custom is matched above")] Self::$variant(body) => serde_json::to_value(body),)*
                };
                made.unwrap_or(serde_json::Value::Null)
            }
        }

        fn payload_schema(event_type: &str) -> Option<Schema> {
            match event_type { $($name => Some(schema_for!($body)),)* _ => None }
        }

        /// Every event type this build knows: number, dotted name, schema version, lane.
        pub const EVENT_TYPES: &[(u16, &str, u16, Lane)] = &[$(($id, $name, $version, Lane::$lane),)*];
    };
}

payloads! {
    /// The node's process began.
    NodeStarted(NodeStarted) = 1, "node.started", v 1, Telemetry;
    /// The node's process is ending on purpose.
    NodeStopped(NodeStopped) = 2, "node.stopped", v 1, Telemetry;
    /// A tracked object appeared, changed or went.
    DetectionTrack(DetectionTrack) = 10, "detection.track", v 1, Detection;
    /// A person or thing that a zone watches for is in it.
    ZoneOccupied(ZonePresence) = 11, "zone.occupied", v 1, Detection;
    /// The zone has been clear for its clear time.
    ZoneCleared(ZonePresence) = 12, "zone.cleared", v 1, Detection;
    /// A camera began or stopped giving usable pictures.
    CameraHealth(CameraHealth) = 13, "camera.health_changed", v 1, Telemetry;
    /// What a camera shows cannot be believed any more, or can again.
    CameraView(CameraViewChanged) = 14, "camera.view_changed", v 1, Telemetry;
    /// A tracked object has gone, and how it had moved.
    TrackEnded(TrackEnded) = 15, "track.ended", v 1, Detection;
    /// A tracked object crossed a line.
    LineCrossed(LineCrossed) = 16, "line.crossed", v 1, Detection;
    /// A tracked object has been in a zone for the zone's dwell time.
    ZoneDwelt(ZoneDwelt) = 17, "zone.dwelt", v 1, Detection;
    /// A picture that somebody sent was looked at.
    InferenceDone(InferenceDone) = 18, "inference.done", v 1, Detection;
    /// Another model is in use.
    ModelChanged(ModelChanged) = 19, "model.changed", v 1, Detection;
    /// A model was compared with the one in use.
    ModelCompared(ModelCompared) = 22, "model.compared", v 1, Detection;
    /// What a camera shows is of another kind than it was, or again as it was.
    ModelDrifted(ModelDrifted) = 23, "model.drifted", v 1, Detection;
    /// A second look says what a tracked object is.
    TrackClassified(TrackClassified) = 24, "track.classified", v 1, Detection;
    /// An alert began.
    AlertRaised(Alert) = 20, "alert.raised", v 1, Alert;
    /// An alert ended.
    AlertCleared(Alert) = 21, "alert.cleared", v 1, Alert;
    /// An interlock rule tripped.
    InterlockTripped(InterlockChange) = 30, "interlock.tripped", v 1, Safety;
    /// An interlock rule cleared.
    InterlockCleared(InterlockChange) = 31, "interlock.cleared", v 1, Safety;
    /// The strongest demand on a vehicle changed, or the action that carries it out did.
    InterlockDemanded(InterlockDemanded) = 32, "interlock.demanded", v 1, Safety;
    /// An e-stop source was pressed or released, or the latch was reset.
    EstopChanged(EstopChanged) = 33, "estop.changed", v 1, Safety;
    /// An output line is energised or not, or does not work.
    OutputChanged(OutputChanged) = 34, "output.changed", v 1, Safety;
    /// Someone asked for a vehicle command.
    CommandRequested(CommandRequested) = 40, "command.requested", v 1, Safety;
    /// The interlock permitted or denied a requested command.
    CommandDecided(CommandDecided) = 41, "command.decided", v 1, Safety;
    /// A message from the centre came, and was acted upon or refused.
    DownlinkReceived(DownlinkReceived) = 42, "downlink.received", v 1, Safety;
    /// Who answers for a vehicle's motion has changed.
    LeaseChanged(LeaseChanged) = 43, "lease.changed", v 1, Safety;
    /// A permitted command was carried out, or was not.
    CommandEnded(CommandEnded) = 44, "command.ended", v 1, Safety;
    /// A vehicle's state, sampled.
    VehicleSampled(VehicleSampled) = 50, "vehicle.sampled", v 1, Telemetry;
    /// A vehicle said something in words.
    VehicleSaid(VehicleSaid) = 51, "vehicle.said", v 1, Telemetry;
    /// An aircraft that is not ours, as a receiver told of it.
    AircraftSeen(AircraftSeen) = 52, "aircraft.seen", v 1, Telemetry;
    /// A value a sensor gave.
    SensorReading(SensorReading) = 60, "sensor.reading", v 1, Telemetry;
    /// A picture or clip is kept beside the journal.
    MediaStored(MediaStored) = 70, "media.stored", v 1, Media;
    /// One is gone before the relay had it.
    MediaDropped(MediaDropped) = 71, "media.dropped", v 1, Media;
    /// An event from outside, kept as it came.
    Custom(Custom) = 1000, "custom", v 1, Telemetry;
}

/// JSON Schema (2020-12) of an event type's payload at the rim, in the version that this build writes; `None` for a type it
/// does not know. Events from outside, `custom.*`, have none: their data is whatever they came with.
pub fn schema(event_type: &str) -> Option<serde_json::Value> {
    let (_, name, version, _) = EVENT_TYPES.iter().find(|(_, name, ..)| *name == event_type && *name != CUSTOM)?;
    let mut schema = payload_schema(name)?;
    schema.insert("$id".into(), format!("urn:picket:event:{name}:v{version}").into());
    Some(schema.to_value())
}

/// The types that [`schema`] knows, with their versions.
pub fn schemas() -> impl Iterator<Item = (&'static str, u16)> {
    EVENT_TYPES.iter().filter(|(_, name, ..)| *name != CUSTOM).map(|(_, name, version, _)| (*name, *version))
}

/// `node.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStarted {
    /// Version of the binary.
    pub version: String,
}

/// `node.stopped`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStopped {
    /// Why it ends: `signal`, or the stage that failed.
    pub reason: String,
}

/// `alert.raised`, `alert.cleared`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Alert number in this run of the node, from 1.
    pub alert: u64,
    /// Rule that raised it.
    pub rule: String,
    /// What it is about.
    pub subject: String,
    /// A sentence for people.
    pub text: String,
}

/// `downlink.received`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DownlinkReceived {
    /// Its place in the relay's sequence for this node.
    pub seq: u64,
    /// What it asks for: `estop.press`.
    pub kind: String,
    /// `taken`, or why not: `expired`, `unknown`.
    pub outcome: String,
}

/// `vehicle.said`: a STATUSTEXT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VehicleSaid {
    /// Vehicle name.
    pub vehicle: String,
    /// MAV_SEVERITY: 0 is an emergency, 7 is for debugging.
    pub severity: u8,
    /// Its words, at most 50 characters.
    pub text: String,
}

/// `aircraft.seen`: an aircraft that is not ours. Each at most every ten seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AircraftSeen {
    /// `adsb-` and its ICAO address, or `odid-` and what its receiver calls it, hexadecimal.
    pub aircraft: String,
    /// Its call sign, or the identification it broadcasts; empty until known.
    pub name: String,
    /// Latitude, degrees WGS-84.
    pub lat_deg: Option<f64>,
    /// Longitude, degrees WGS-84.
    pub lon_deg: Option<f64>,
    /// Altitude, metres: above the sea by ADS-B (mostly of pressure), above the ellipsoid by Open Drone ID.
    pub alt_m: Option<f32>,
    /// Over ground, degrees from north.
    pub heading_deg: Option<f32>,
    /// Speed over ground, m/s.
    pub speed_mps: Option<f32>,
    /// Upwards, m/s.
    pub climb_mps: Option<f32>,
}

/// `vehicle.sampled`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VehicleSampled {
    /// Vehicle name.
    pub vehicle: String,
    /// Mode number as in HEARTBEAT.custom_mode.
    pub mode: u32,
    /// Whether it is armed.
    pub armed: bool,
    /// Latitude, degrees WGS-84; absent until known.
    pub lat_deg: Option<f64>,
    /// Longitude, degrees WGS-84; absent until known.
    pub lon_deg: Option<f64>,
    /// Height above home, metres.
    pub relative_alt_m: Option<f32>,
    /// Speed over ground, m/s.
    pub speed_mps: Option<f32>,
    /// Battery remaining, percent; absent when the vehicle does not say.
    pub battery_pct: Option<u8>,
}

/// `sensor.reading`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SensorReading {
    /// Sensor name.
    pub sensor: String,
    /// Measured value.
    pub value: f64,
    /// Its unit, as in UCUM.
    pub unit: String,
}

/// `media.stored`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MediaStored {
    /// BLAKE3 of its bytes, hexadecimal: its name at node and relay.
    pub hash: String,
    /// Bytes.
    pub bytes: u64,
    /// As in a Content-Type header.
    pub media_type: String,
}

/// `media.dropped`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MediaDropped {
    /// Its name.
    pub hash: String,
    /// Bytes.
    pub bytes: u64,
    /// `quota`, or `damaged`.
    pub reason: String,
}

/// An event from outside: its own type under `custom.`, its JSON as text (postcard holds no self-describing values).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Custom {
    /// Dotted type, begins with `custom.`.
    pub event_type: String,
    /// Compact JSON.
    pub json: String,
}
