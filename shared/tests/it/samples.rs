//! One payload of every event type, and its golden bytes: what any release wrote must decode for ever.

use shared::event::{
    AircraftSeen, Alert, CameraHealth, CameraState, CameraViewChanged, CommandDecided, CommandEnded, CommandRequested,
    Custom, DetectionTrack, DownlinkReceived, EVENT_TYPES, EstopChanged, InferenceDone, InterlockChange,
    InterlockDemanded, LeaseChanged, LineCrossed, MediaDropped, MediaStored, ModelChanged, ModelCompared, ModelDrifted,
    NodeStarted, NodeStopped, OutputChanged, Payload, SensorReading, TrackClassified, TrackEnded, TrackPhase,
    VehicleSaid, VehicleSampled, ZoneDwelt, ZonePresence, schema, schemas,
};
use shared::ids::EventId;
use shared::record::Record;
use uuid::Uuid;

use crate::golden::{check, event};

#[expect(clippy::too_many_lines, reason = "a list: one sample of each type")]
fn all() -> Vec<Payload> {
    let request = EventId(Uuid::from_u128(7));
    let presence = || ZonePresence { zone: "yard".into(), camera: "gate".into(), episode: 2, frame: 61 };
    let alert = || Alert { alert: 3, rule: "presence".into(), subject: "zone/yard".into(), text: "occupied".into() };
    let change = || InterlockChange {
        rule: "keep-out".into(),
        vehicle: "rover".into(),
        demand: "hold".into(),
        reason: "person in yard".into(),
    };
    let hash = || "ab".repeat(32);
    vec![
        Payload::NodeStarted(NodeStarted { version: "0.1.0".into() }),
        Payload::NodeStopped(NodeStopped { reason: "signal".into() }),
        Payload::DetectionTrack(DetectionTrack {
            camera: "gate".into(),
            track: 3,
            phase: TrackPhase::End,
            label: "person".into(),
            score: 0.5,
            box_xyxy_px: [1.0, 2.0, 3.0, 4.5],
            zones: vec!["yard".into()],
            frame: 61,
        }),
        Payload::ZoneOccupied(presence()),
        Payload::ZoneCleared(presence()),
        Payload::CameraHealth(CameraHealth {
            camera: "gate".into(),
            state: CameraState::Stale,
            age_ms: 700,
            error: "reset".into(),
        }),
        Payload::CameraView(CameraViewChanged { camera: "gate".into(), view: "accepted".into(), by: "ann".into() }),
        Payload::TrackEnded(TrackEnded {
            camera: "gate".into(),
            track: 3,
            label: "person".into(),
            score: 0.5,
            seen_ms: 7000,
            zones_ms: vec![("yard".into(), 6500)],
            from: [0.25, 0.5],
            to: [0.75, 0.5],
            direction_deg: Some(90.0),
            speed_mps: None,
        }),
        Payload::LineCrossed(LineCrossed {
            line: "gate".into(),
            camera: "gate".into(),
            track: 3,
            label: "person".into(),
            forwards: true,
            frame: 61,
        }),
        Payload::ZoneDwelt(ZoneDwelt {
            zone: "yard".into(),
            camera: "gate".into(),
            track: 3,
            label: "person".into(),
            stayed_ms: 5000,
            frame: 61,
        }),
        Payload::InferenceDone(InferenceDone {
            by: "ann".into(),
            model: "yard".into(),
            bytes: 40_000,
            found: 2,
            labels: vec!["car".into(), "person".into()],
            took_ms: 9,
        }),
        Payload::ModelChanged(ModelChanged {
            model: "yard".into(),
            before: "yolox-nano".into(),
            why: "use".into(),
            by: "ann".into(),
        }),
        Payload::ModelCompared(ModelCompared {
            model: "yolox-nano".into(),
            candidate: "yard".into(),
            pictures: 24,
            both: 31,
            only_model: 2,
            only_candidate: 1,
            model_ms: 20.5,
            candidate_ms: 3.25,
            verdict: "accepted".into(),
            by: "ann".into(),
        }),
        Payload::ModelDrifted(ModelDrifted {
            camera: "gate".into(),
            model: "yard".into(),
            drifted: true,
            classes: Some(0.125),
            scores: Some(0.5),
            heights: None,
            brightness: Some(0.0),
            counts: Some(0.25),
        }),
        Payload::TrackClassified(TrackClassified {
            camera: "gate".into(),
            track: 3,
            chain: "posture".into(),
            label: "lying".into(),
            score: 0.75,
            frame: 61,
        }),
        Payload::AlertRaised(alert()),
        Payload::AlertCleared(alert()),
        Payload::InterlockTripped(change()),
        Payload::InterlockCleared(change()),
        Payload::InterlockDemanded(InterlockDemanded {
            vehicle: "rover".into(),
            demand: "stop".into(),
            action: "disarm".into(),
            why: "demanded".into(),
        }),
        Payload::EstopChanged(EstopChanged { source: "downlink".into(), pressed: true, by: "ann".into() }),
        Payload::OutputChanged(OutputChanged { output: "siren".into(), energised: true, faulty: false }),
        Payload::CommandRequested(CommandRequested {
            request,
            vehicle: "rover".into(),
            verb: "resume".into(),
            by: "ann".into(),
        }),
        Payload::CommandDecided(CommandDecided {
            request,
            vehicle: "rover".into(),
            permitted: false,
            reasons: vec!["person in yard".into()],
        }),
        Payload::DownlinkReceived(DownlinkReceived {
            seq: 1_767_225_600_000_000,
            kind: "estop.press".into(),
            outcome: "taken".into(),
        }),
        Payload::LeaseChanged(LeaseChanged {
            vehicle: "rover".into(),
            change: "authorised".into(),
            by: "ann".into(),
            lasts_s: Some(600),
        }),
        Payload::CommandEnded(CommandEnded {
            request,
            vehicle: "rover".into(),
            verb: "go-to".into(),
            outcome: "refused".into(),
            detail: "it failed".into(),
        }),
        Payload::VehicleSampled(VehicleSampled {
            vehicle: "rover".into(),
            mode: 10,
            armed: true,
            lat_deg: Some(47.5),
            lon_deg: None,
            relative_alt_m: Some(1.5),
            speed_mps: Some(2.0),
            battery_pct: Some(80),
        }),
        Payload::VehicleSaid(VehicleSaid {
            vehicle: "rover".into(),
            severity: 4,
            text: "PreArm: GPS 1 not healthy".into(),
        }),
        Payload::AircraftSeen(AircraftSeen {
            aircraft: "adsb-4b1234".into(),
            name: "REGA1".into(),
            lat_deg: Some(47.4),
            lon_deg: Some(8.5),
            alt_m: Some(900.0),
            heading_deg: None,
            speed_mps: Some(40.5),
            climb_mps: None,
        }),
        Payload::SensorReading(SensorReading { sensor: "load".into(), value: 1.5, unit: "kN".into() }),
        Payload::MediaStored(MediaStored { hash: hash(), bytes: 300, media_type: "video/mp4".into() }),
        Payload::MediaDropped(MediaDropped { hash: hash(), bytes: 300, reason: "quota".into() }),
        Payload::Custom(Custom { event_type: "custom.gate".into(), json: "{\"open\":true}".into() }),
    ]
}

#[test]
fn every_event_type_has_its_golden_bytes_and_reads_them_back() {
    let samples = all();
    let numbers: Vec<u16> = samples.iter().map(Payload::type_id).collect();
    assert_eq!(numbers, EVENT_TYPES.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), "a type has no sample");
    for payload in samples {
        let record = Record::encode(event(payload.clone())).unwrap();
        assert_eq!(record.decode().unwrap().payload.as_ref(), Some(&payload));
        let name = EVENT_TYPES.iter().find(|(number, ..)| *number == payload.type_id()).unwrap().1;
        check(&format!("events/{name}.v{}.hex", payload.schema_version()), &record.bytes);
    }
}

#[test]
fn every_event_type_has_a_schema_that_never_changes_within_its_version_and_says_what_is_written() {
    for payload in all().into_iter().filter(|payload| !matches!(payload, Payload::Custom(_))) {
        let (name, version) = (payload.event_type(), payload.schema_version());
        let schema = schema(name).unwrap();
        let path = format!("{}/tests/golden/events/{name}.v{version}.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("PICKET_BLESS").is_some() && !std::path::Path::new(&path).exists() {
            std::fs::write(&path, format!("{schema:#}\n")).unwrap();
        }
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(golden, schema, "{name}: its schema changed within version {version}");
        let (json, properties) = (payload.to_json(), schema["properties"].as_object().unwrap());
        let written = json.as_object().unwrap();
        assert!(written.keys().all(|key| properties.contains_key(key)), "{name}: {written:?}");
        let required = schema["required"].as_array().unwrap();
        assert!(required.iter().all(|key| written.contains_key(key.as_str().unwrap())), "{name}: {required:?}");
    }
    assert_eq!(schemas().count(), EVENT_TYPES.len() - 1);
    assert!(schema("custom").is_none() && schema("nobody.knows").is_none());
}
