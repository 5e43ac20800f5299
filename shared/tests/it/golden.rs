//! Golden bytes: records and batches written by any release must decode for ever, and encode to the same bytes.

use shared::event::{DetectionTrack, Event, InterlockChange, Occurred, Payload, TrackPhase};
use shared::ids::{Digest, Epoch, EventId, Lane, Seq, TraceId};
use shared::record::{Opened, Record};
use shared::units::{ClockState, Uptime, UtcMicros};
use shared::wire::{Batch, Item, PROTOCOL};
use uuid::Uuid;

/// A fixed event around `payload`.
pub fn event(payload: Payload) -> Event {
    Event {
        event_id: EventId(Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0001)),
        aggregate_id: "camera/gate".into(),
        occurred: Occurred {
            at: UtcMicros(1_767_225_600_000_000),
            clock: ClockState::Synced,
            boot_id: [7; 16],
            uptime: Uptime(1_234_567),
        },
        trace_id: Some(TraceId([9; 16])),
        cause_id: None,
        payload,
    }
}

fn track() -> Payload {
    Payload::DetectionTrack(DetectionTrack {
        camera: "gate".into(),
        track: 3,
        phase: TrackPhase::New,
        label: "person".into(),
        score: 0.875,
        box_xyxy_px: [1.0, 2.0, 30.5, 40.25],
        zones: vec!["yard".into()],
        frame: 61,
    })
}

fn trip() -> Payload {
    Payload::InterlockTripped(InterlockChange {
        rule: "keep-out".into(),
        vehicle: "rover".into(),
        demand: "hold".into(),
        reason: "person in yard".into(),
    })
}

/// A fixed batch of an opening and two records.
pub fn batch() -> Batch {
    let records = [track(), trip()].map(|payload| Item::Record(Record::encode(event(payload)).unwrap()));
    let mut items = vec![Item::Opened(Opened::FIRST)];
    items.extend(records);
    Batch {
        protocol: PROTOCOL,
        dict_id: 0,
        node: "gate-1".parse().unwrap(),
        boot_id: [7; 16],
        epoch: Epoch([1; 16]),
        lane: Lane::Detection,
        first_seq: Seq(1),
        prev_chain: Digest::default(),
        sent_uptime: Uptime(2_000_000),
        downlink_acked: 0,
        items,
        head_sig: Vec::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares with the golden file; `PICKET_BLESS=1` writes a missing one, never over an old one.
#[track_caller]
pub fn check(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() && std::env::var_os("PICKET_BLESS").is_some() {
        std::fs::write(&path, hex(bytes)).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    assert_eq!(golden.trim(), hex(bytes), "{name}: bytes on the wire changed");
}

#[test]
fn bytes_of_records_and_batches_never_change() {
    check("detection.track.v1.hex", &Record::encode(event(track())).unwrap().bytes);
    check("interlock.tripped.v1.hex", &Record::encode(event(trip())).unwrap().bytes);
    check("batch.p1.hex", &postcard::to_stdvec(&batch()).unwrap());
    let record = Record::encode(event(track())).unwrap();
    check("chain.v1.hex", &Digest::default().chained(Opened::FIRST.digest()).chained(record.digest()).0);
}

#[test]
fn a_golden_record_decodes_to_the_event_it_was() {
    let decoded = Record::encode(event(track())).unwrap().decode().unwrap();
    assert_eq!(decoded.payload, Some(track()));
    assert_eq!(decoded.envelope.aggregate_id, "camera/gate");
}

#[test]
fn an_unknown_type_keeps_its_envelope() {
    let mut record = Record::encode(event(track())).unwrap();
    record.type_id = 60_000;
    let decoded = record.decode().unwrap();
    assert_eq!(decoded.payload, None);
    assert_eq!(decoded.envelope.event_id, event(track()).event_id);
}
