//! Aircraft that are not ours, as pymavlink tells of them: read, shown, journaled once in ten seconds; what is none is refused.

use std::time::Duration;

use hil::peer::Peer;
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use serde_json::{Value, json};

use crate::radio::{alone, counted, link, pinned};

const LONG: Duration = Duration::from_secs(20);

async fn sky(site: &Site, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let look = async || match site.get("/api/v1/aircraft").await.unwrap().1 {
        Value::Array(all) if holds(&all) => Ok(all),
        other => Err(other.to_string()),
    };
    eventually(what, LONG, look).await.unwrap()
}

fn adsb(icao: u32, lat: f64) -> Value {
    json!({
        "ICAO_address": icao, "lat": (lat * 1e7).round() as i64, "lon": 85_000_000, "altitude_type": 0, "altitude": 900_500,
        "heading": 9000, "hor_velocity": 4050, "ver_velocity": -150, "callsign": "REGA1", "emitter_type": 7, "tslc": 1,
        "flags": 31, "squawk": 7000,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn aircraft_of_others_are_read_shown_and_journaled_and_what_is_none_is_refused() {
    let ports = Ports::free().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "") + &pinned("rover", 1, "\"radio\"");
    let mut site = alone(&Plan { node, ..Plan::default() }, ports);
    site.start_node().unwrap();
    // A receiver beside the vehicles: MAV_COMP_ID_ADSB is 156.
    let mut receiver = Peer::start(&format!("udpout:127.0.0.1:{}", ports.link), (99, 156), None).unwrap();
    receiver.send("ADSB_VEHICLE", &adsb(0x4b_1234, 47.41)).unwrap();
    let seen = sky(&site, "the helicopter", |all| !all.is_empty()).await;
    let age = seen[0]["age_ms"].clone();
    assert_eq!(
        seen,
        [json!({
            "aircraft": "adsb-4b1234", "name": "REGA1", "lat_deg": 47.41, "lon_deg": 8.5, "alt_m": 900.5,
            "heading_deg": 90.0, "speed_mps": 40.5, "climb_mps": -1.5, "age_ms": age,
        })]
    );
    // A drone: its place, then its name.
    let from = vec![0xAB; 6].into_iter().chain(vec![0; 14]).collect::<Vec<u8>>();
    let place = json!({
        "target_system": 0, "target_component": 0, "id_or_mac": from, "status": 2, "direction": 18_000,
        "speed_horizontal": 500, "speed_vertical": 0, "latitude": 474_100_000, "longitude": 85_100_000,
        "altitude_barometric": -1000.0, "altitude_geodetic": 480.0, "height_reference": 0, "height": 40.0,
        "horizontal_accuracy": 0, "vertical_accuracy": 0, "barometer_accuracy": 0, "speed_accuracy": 0, "timestamp": 0.0,
        "timestamp_accuracy": 0,
    });
    receiver.send("OPEN_DRONE_ID_LOCATION", &place).unwrap();
    let name: Vec<u8> = "1581F45T".bytes().chain(std::iter::repeat_n(0, 12)).collect();
    let basic = json!({
        "target_system": 0, "target_component": 0, "id_or_mac": from, "id_type": 1, "ua_type": 2, "uas_id": name,
    });
    receiver.send("OPEN_DRONE_ID_BASIC_ID", &basic).unwrap();
    let drone = |all: &[Value]| {
        all.iter().any(|one| {
            one["aircraft"] == "odid-abababababab"
                && one["name"] == "1581F45T"
                && one["alt_m"] == 480.0
                && one["speed_mps"] == 5.0
        })
    };
    sky(&site, "the drone and its name", drone).await;
    // No place on earth, no address; the vehicle's own identification.
    for message in [adsb(0x4b_0001, 95.0), adsb(0, 47.4)] {
        receiver.send("ADSB_VEHICLE", &message).unwrap();
    }
    // More than a sky can hold.
    for icao in 1..200u32 {
        receiver.send("ADSB_VEHICLE", &adsb(icao, 47.41)).unwrap();
    }
    let refused = async || {
        let many = counted(&site, "too many aircraft").await;
        let [place, address] = [counted(&site, "no place on earth").await, counted(&site, "without an address").await];
        if (many, place, address) == (73, 1, 1) { Ok(()) } else { Err(format!("{many} {place} {address}")) }
    };
    eventually("the refusals to be counted", LONG, refused).await.unwrap();
    assert_eq!(sky(&site, "a full sky", |all| all.len() >= 128).await.len(), 128);
    // The helicopter again, at once: shown, and not journaled a second time.
    receiver.send("ADSB_VEHICLE", &adsb(0x4b_1234, 47.42)).unwrap();
    sky(&site, "it to have moved", |all| all.iter().any(|one| one["lat_deg"] == 47.42)).await;
    let journaled = async || {
        let events = site.inspect(&["events", "--json", "--type", "aircraft.seen"]).unwrap();
        let of = events.lines().filter(|line| line.contains("adsb-4b1234")).count();
        if of == 1 { Ok(()) } else { Err(format!("{of} of it in {} events", events.lines().count())) }
    };
    eventually("its one event", LONG, journaled).await.unwrap();
}
