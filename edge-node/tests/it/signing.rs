//! Signed packets: by the mavlink crate's own signer, with clocks that are wrong, keys that are none.

use edge_node::vehicle::codec::{Packet, Writer, parse};
use edge_node::vehicle::command::{Kind, command_ack, heartbeat};
use edge_node::vehicle::craft::Link;
use edge_node::vehicle::fleet::{Act, Fleet};
use edge_node::vehicle::signing::{Clock, Guard, Key, Pace, Refusal, Signer};
use mavlink::dialects::ardupilotmega::{MavMessage, MavType};
use mavlink::{MavHeader, SigningConfig, SigningData, write_v2_msg_signed};
use shared::units::{Uptime, UtcMicros};

use crate::links::{beat, links, packet, refused, rover, ways};

const ONE: &str = "[[link]]\nname = \"radio\"\nurl = \"udpin:127.0.0.1:1\"";

/// 2026-11-24 in microseconds of UTC.
const TODAY: i64 = 1_795_478_400_000_000;
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn crate_signed(signing: &SigningData, sequence: u8) -> Packet {
    let mut bytes = Vec::new();
    let header = MavHeader { system_id: 1, component_id: 1, sequence };
    write_v2_msg_signed(&mut bytes, header, &beat(10, MavType::MAV_TYPE_GROUND_ROVER), Some(signing)).unwrap();
    parse(&bytes).packets.remove(0)
}

fn signing(link: u8) -> SigningData {
    let key: Vec<u8> = (0..32).collect();
    SigningData::from_config(SigningConfig::new(key.try_into().unwrap(), link, true, false))
}

#[test]
fn signatures_are_those_of_another_implementation_and_come_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::open(folder.path(), edge_node::clock::utc()).unwrap();
    let key = Key::parse(KEY).unwrap();
    assert_eq!(format!("{key:?}"), "Key(…)");
    // Ours, read by the crate.
    let mut writer = Writer::new(245, 191, Some(Signer::new(key.clone(), 3, clock.clone())));
    let (mut buffer, theirs) = (Vec::new(), signing(0));
    for _ in 0..3 {
        heartbeat(&mut writer, Kind::Onboard, &mut buffer);
        let mut reader = mavlink::MavlinkReader::new(buffer.as_slice());
        assert!(reader.read_any_message_signed::<MavMessage>(Some(&theirs)).is_ok());
    }
    // The crate's, read by us: each once, in order.
    let mut guard = Guard::new(key, clock.clone());
    let theirs = signing(9);
    let (first, second) = (crate_signed(&theirs, 0), crate_signed(&theirs, 1));
    assert_eq!(guard.check(&first, true), Ok(()));
    assert_eq!(guard.check(&second, true), Ok(()));
    assert_eq!((guard.check(&first, true), guard.check(&second, true)), (Err(Refusal::Old), Err(Refusal::Twice)));
    let mut changed = crate_signed(&theirs, 2);
    changed.raw[12] ^= 1;
    assert_eq!(guard.check(&changed, true), Err(Refusal::Wrong));
    assert_eq!(guard.check(&packet(1, 3, 10), true), Err(Refusal::Unsigned));
    // A site's vehicles are many, and not without end.
    for link in 10..=255 {
        assert_eq!(guard.check(&crate_signed(&signing(link), 0), true), Ok(()), "sender {link}");
    }
    for (system, expected) in [(2, Ok(())), (3, Ok(())), (12, Err(Refusal::Crowd))] {
        let mut last = Ok(());
        for sender in 2..=system {
            let mut buffer = Vec::new();
            let signer = Signer::new(Key::parse(KEY).unwrap(), 0, clock.clone());
            heartbeat(&mut Writer::new(sender, 1, Some(signer)), Kind::Onboard, &mut buffer);
            last = guard.check(&parse(&buffer).packets[0], true);
            if matches!(last, Err(Refusal::Old | Refusal::Twice)) {
                last = Ok(());
            }
        }
        assert_eq!(last, expected, "system {system}");
    }
}

#[test]
fn a_new_sender_may_be_fifty_seconds_behind_and_not_sixty_one() {
    let folder = tempfile::tempdir().unwrap();
    let clock = |behind_s: i64| Clock::open(folder.path(), UtcMicros(TODAY - behind_s * 1_000_000)).unwrap();
    for (behind_s, taken) in [(0, true), (50, true), (61, false)] {
        let mut buffer = Vec::new();
        let mut writer = Writer::new(1, 1, Some(Signer::new(Key::parse(KEY).unwrap(), 0, clock(behind_s))));
        heartbeat(&mut writer, Kind::Onboard, &mut buffer);
        let mut guard = Guard::new(Key::parse(KEY).unwrap(), clock(0));
        assert_eq!(guard.check(&parse(&buffer).packets[0], true).is_ok(), taken, "{behind_s} s");
    }
}

#[test]
fn a_vehicle_that_is_behind_is_told_the_time_and_then_heard_and_a_station_moves_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let open = |behind_s: i64| Clock::open(folder.path(), UtcMicros(TODAY - behind_s * 1_000_000)).unwrap();
    let (ours, theirs, key) = (open(0), open(3600), Key::parse(KEY).unwrap());
    let writer = Writer::new(245, 191, Some(Signer::new(key.clone(), 129, ours.clone())));
    let ends = (vec![Link { writer, guard: Some(0) }], vec![Guard::new(key.clone(), ours.clone())]);
    let mut fleet = Fleet::new(vec![rover("\"radio\"")], &links(ONE), ends, 245, Vec::new());
    let (ways, now) = (ways(1), Uptime::from_millis(50_000));
    let mut pen = Writer::new(1, 1, Some(Signer::new(key.clone(), 0, theirs.clone())));
    let (mut buffer, mut acts) = (Vec::new(), Vec::new());
    command_ack(&mut pen, (1, 1), (176, 0), (245, 191), &mut buffer);
    fleet.hear(0, &ways[0], &parse(&buffer).packets, now, &mut acts);
    assert_eq!(refused(&acts), Some("old signature"));
    let sent = acts.iter().find_map(|act| if let Act::Send(way, bytes) = act { Some((way, bytes)) } else { None });
    let (way, answer) = sent.unwrap();
    assert_eq!(way, &ways[0]);
    // As MAVLink has it, the vehicle goes on from the latest time that it was told.
    let mut vehicle = Guard::new(key, theirs);
    assert_eq!(vehicle.check(&parse(answer).packets[0], true), Ok(()));
    command_ack(&mut pen, (1, 1), (176, 0), (245, 191), &mut buffer);
    acts.clear();
    fleet.hear(0, &ways[0], &parse(&buffer).packets, now, &mut acts);
    assert_ne!(refused(&acts), Some("old signature"), "{acts:?}");

    let (before, mut guard) = (ours.get(), Guard::new(Key::parse(KEY).unwrap(), ours.clone()));
    let ahead = Clock::open(folder.path(), UtcMicros(TODAY + 86_400_000_000)).unwrap();
    heartbeat(
        &mut Writer::new(255, 190, Some(Signer::new(Key::parse(KEY).unwrap(), 0, ahead))),
        Kind::Onboard,
        &mut buffer,
    );
    assert_eq!(guard.check(&parse(&buffer).packets[0], false), Ok(()));
    assert_eq!(ours.get(), before);
}

#[test]
fn the_time_of_signatures_only_grows_over_restarts_and_with_what_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let today = Clock::open(folder.path(), UtcMicros(TODAY)).unwrap();
    let pace = Pace::new(today.clone(), Uptime::from_millis(1000));
    let begun = today.get();
    pace.pass(Uptime::from_millis(31_000));
    assert_eq!(today.get() - begun, 3_000_000, "30 s in units of 10 µs");
    today.store(folder.path()).unwrap();
    let used = today.get() + 2_999_999;
    // The battery of its clock is empty: a minute after what was stored, so later than anything that was signed since.
    let again = Clock::open(folder.path(), UtcMicros(0)).unwrap();
    assert!(again.get() > used);
    // Restarts one after the other do not add up while the clock is right.
    let (quick, second) = (tempfile::tempdir().unwrap(), 1_000_000);
    for restart in 0..20 {
        let clock = Clock::open(quick.path(), UtcMicros(TODAY + restart * second)).unwrap();
        let wall = begun + u64::try_from(restart).unwrap() * 100_000;
        assert_eq!(clock.get(), wall, "restart {restart}");
        clock.store(quick.path()).unwrap();
    }
    // Nothing stored: one packet of the vehicle is enough.
    let fresh = tempfile::tempdir().unwrap();
    let early = Clock::open(fresh.path(), UtcMicros(0)).unwrap();
    assert_eq!(early.get(), 0);
    let mut guard = Guard::new(Key::parse(KEY).unwrap(), early.clone());
    let mut buffer = Vec::new();
    heartbeat(
        &mut Writer::new(1, 1, Some(Signer::new(Key::parse(KEY).unwrap(), 0, today))),
        Kind::Onboard,
        &mut buffer,
    );
    assert_eq!(guard.check(&parse(&buffer).packets[0], true), Ok(()));
    assert!(early.get() > begun);
    std::fs::write(folder.path().join("signing-time"), "soon").unwrap();
    assert!(Clock::open(folder.path(), UtcMicros(0)).unwrap_err().contains("expected a number"));
}

#[test]
fn a_key_that_others_can_read_or_that_is_none_is_refused_without_showing_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let write = |text: &str, mode: u32| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        Key::read(&file)
    };
    assert!(write(&format!("{KEY}\n"), 0o600).is_ok());
    assert!(write(KEY, 0o640).unwrap_err().contains("0600"));
    let secret = "00010203040506070809zz";
    let error = write(secret, 0o600).unwrap_err();
    assert!(error.contains("64 hexadecimal digits") && !error.contains(secret), "{error}");
}
