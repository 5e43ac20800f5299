//! Bytes of links into the vehicles' fold.

use std::net::UdpSocket;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use edge_node::vehicle::codec::{Deframer, Writer, parse};
use edge_node::vehicle::craft::Link;
use edge_node::vehicle::fleet::{Act, Fleet};
use edge_node::vehicle::way::Way;
use edge_node::vehicle::{LinkConfig, VehicleConfig};
use shared::units::Uptime;

const LINKS: [&str; 3] = [
    "name = \"radio\"\nurl = \"udpin:127.0.0.1:1\"",
    "name = \"modem\"\nurl = \"tcpin:127.0.0.1:2\"",
    "name = \"ground\"\nurl = \"udpin:127.0.0.1:3\"\nground_stations = { allow = [\"logs\", \"camera\"] }",
];
const VEHICLES: [&str; 2] = [
    "name = \"rover\"\nclass = \"rover\"\nsysid = 1\nlinks = [\"radio\", \"modem\"]",
    "name = \"copter\"\nclass = \"copter\"\nsysid = 2\nlinks = [\"modem\"]",
];
/// The ground stations' link.
const GROUND: usize = 2;
/// Messages that may go on to a vehicle from a ground station.
const QUESTIONS: [u32; 12] = [4, 20, 21, 40, 43, 47, 51, 75, 76, 111, 117, 119];

fn ways() -> [Way; 4] {
    static SOCKET: OnceLock<Arc<UdpSocket>> = OnceLock::new();
    let socket = SOCKET.get_or_init(|| Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap()));
    [1, 2, 3, 4].map(|port| Way::Datagrams(socket.clone(), ([127, 0, 0, 1], port).into()))
}

/// Pieces of data, each with the link that brings it, its way and the time that passed before.
pub fn link(data: &[u8]) {
    let links: Vec<LinkConfig> = LINKS.iter().map(|text| toml::from_str(text).unwrap()).collect();
    let vehicles: Vec<VehicleConfig> = VEHICLES.iter().map(|text| toml::from_str(text).unwrap()).collect();
    let ends = links.iter().map(|_| Link { writer: Writer::new(245, 191, None), guard: None }).collect();
    let mut fleet = Fleet::new(vehicles, &links, (ends, Vec::new()), 245, Vec::new());
    let (ways, mut stream, mut now, mut acts) = (ways(), Deframer::default(), Uptime::from_millis(10_000), Vec::new());
    let mut rest = data;
    while let [head, len, left @ ..] = rest {
        let (piece, left) = left.split_at(usize::from(*len).min(left.len()));
        rest = left;
        let (link, way) = (usize::from(head % 3), &ways[usize::from(head / 3 % 4)]);
        now = now.plus(Duration::from_millis(u64::from(head / 12) * 50));
        let packets = if link == 1 { stream.feed(piece).packets } else { parse(piece).packets };
        acts.clear();
        fleet.hear(link, way, &packets, now, &mut acts);
        check(link, packets.len(), &acts);
        acts.clear();
        fleet.tick(now, &mut acts);
        assert!(acts.len() < 200, "{} acts of a tick", acts.len());
        if head % 7 == 0 {
            fleet.closed(link, way, &mut acts);
        }
    }
    for state in fleet.states() {
        assert!(state.position_deg.is_none_or(|(lat, lon)| lat.abs() <= 90.0 && lon.abs() <= 180.0));
        assert!(state.speed_mps.is_finite());
    }
}

fn check(link: usize, packets: usize, acts: &[Act]) {
    // Each packet is told to eight ground stations at most, and answered twice.
    assert!(acts.len() <= packets * 12 + 2, "{} acts of {packets} packets", acts.len());
    for act in acts {
        match act {
            Act::Ask { .. } | Act::Press { .. } => assert_eq!(link, GROUND, "only ground stations ask: {act:?}"),
            // From a ground station nothing goes on that moves a vehicle.
            Act::Send(_, bytes) if link == GROUND => {
                let sent = parse(bytes).packets;
                let ours = |id: u32, sysid: u8| [77, 253].contains(&id) && [1, 2, 245].contains(&sysid);
                assert!(sent.iter().all(|p| ours(p.id, p.sysid) || QUESTIONS.contains(&p.id)), "{sent:?}");
            }
            _ => {}
        }
    }
}
