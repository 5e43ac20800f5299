//! Vehicles behind several links: which one is listened to, what comes twice, who is refused; streams cut anywhere.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use edge_node::vehicle::codec::{Deframer, Packet, Writer, parse};
use edge_node::vehicle::command::command_ack;
use edge_node::vehicle::craft::Link;
use edge_node::vehicle::fleet::{Act, Fleet};
use edge_node::vehicle::state::{Heard, Report};
use edge_node::vehicle::url::LinkUrl;
use edge_node::vehicle::way::Way;
use edge_node::vehicle::{LinkConfig, VehicleConfig};
use mavlink::dialects::ardupilotmega::{
    HEARTBEAT_DATA, MavAutopilot, MavMessage, MavModeFlag, MavType, STATUSTEXT_DATA,
};
use mavlink::{MavHeader, write_v2_msg};
use proptest::prelude::*;
use shared::units::Uptime;

/// Ways that are no more than different: nothing is sent over them.
pub fn ways(count: u16) -> Vec<Way> {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    (1..=count).map(|port| Way::Datagrams(socket.clone(), ([127, 0, 0, 1], port).into())).collect()
}

pub fn links(text: &str) -> Vec<LinkConfig> {
    #[derive(serde::Deserialize)]
    struct File {
        link: Vec<LinkConfig>,
    }
    toml::from_str::<File>(text).unwrap().link
}

pub fn rover(links: &str) -> VehicleConfig {
    toml::from_str(&format!("name = \"rover\"\nclass = \"rover\"\nsysid = 1\nlinks = [{links}]")).unwrap()
}

pub fn fleet(vehicles: Vec<VehicleConfig>, links: &[LinkConfig]) -> Fleet {
    let ends = links.iter().map(|_| Link { writer: Writer::new(245, 191, None), guard: None }).collect();
    Fleet::new(vehicles, links, (ends, Vec::new()), 245, Vec::new())
}

const TWO: &str =
    "[[link]]\nname = \"radio\"\nurl = \"udpin:127.0.0.1:1\"\n[[link]]\nname = \"modem\"\nurl = \"tcpin:127.0.0.1:2\"";

pub fn bytes(sysid: u8, sequence: u8, message: &MavMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = MavHeader { system_id: u32::from(sysid), component_id: 1, sequence };
    write_v2_msg(&mut bytes, header, message).unwrap();
    bytes
}

pub fn beat(mode: u32, kind: MavType) -> MavMessage {
    MavMessage::HEARTBEAT(HEARTBEAT_DATA {
        custom_mode: mode,
        mavtype: kind,
        autopilot: MavAutopilot::MAV_AUTOPILOT_ARDUPILOTMEGA,
        base_mode: MavModeFlag::MAV_MODE_FLAG_CUSTOM_MODE_ENABLED,
        ..HEARTBEAT_DATA::DEFAULT
    })
}

pub fn packet(sysid: u8, sequence: u8, mode: u32) -> Packet {
    parse(&bytes(sysid, sequence, &beat(mode, MavType::MAV_TYPE_GROUND_ROVER))).packets.remove(0)
}

struct Air {
    fleet: Fleet,
    now: Uptime,
    sequence: u8,
}

impl Air {
    fn new() -> Self {
        let fleet = fleet(vec![rover("\"radio\", \"modem\"")], &links(TWO));
        Self { fleet, now: Uptime::from_millis(50_000), sequence: 0 }
    }

    /// The rover says its mode over a way; gives what follows.
    fn say(&mut self, link: usize, way: &Way, mode: u32) -> Vec<Act> {
        self.sequence = self.sequence.wrapping_add(1);
        self.hear(link, way, &[packet(1, self.sequence, mode)])
    }

    fn hear(&mut self, link: usize, way: &Way, packets: &[Packet]) -> Vec<Act> {
        let mut acts = Vec::new();
        self.fleet.hear(link, way, packets, self.now, &mut acts);
        acts
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
    }

    fn mode(&self) -> u32 {
        self.fleet.state(0).unwrap().mode
    }
}

pub fn refused(acts: &[Act]) -> Option<&'static str> {
    acts.iter().find_map(|act| if let Act::Refused { why, .. } = act { Some(*why) } else { None })
}

fn told(acts: &[Act], link: usize, way: &Way) -> bool {
    acts.contains(&Act::Way { vehicle: 0, link, way: Some(way.clone()) })
}

#[test]
fn a_vehicle_is_listened_to_on_one_link_and_on_the_next_when_that_is_silent() {
    let (mut air, ways) = (Air::new(), ways(2));
    assert!(told(&air.say(0, &ways[0], 10), 0, &ways[0]));
    // The slow link brings what is over: it is known there, and not listened to.
    assert!(told(&air.say(1, &ways[1], 4), 1, &ways[1]));
    assert_eq!(air.mode(), 10);
    for _ in 0..10 {
        air.pass(200);
        assert!(air.say(1, &ways[1], 4).iter().all(|act| !matches!(act, Act::Report(_))) || air.mode() == 4);
        if air.mode() == 4 {
            break;
        }
    }
    assert_eq!(air.mode(), 4, "the first link is silent");
    assert!(air.now.since(Uptime::from_millis(50_000)) < Duration::from_millis(1500), "before silence trips");
    // The first one comes again: not at once, but when it has lasted.
    let back = air.now;
    while air.mode() == 4 && air.now.since(back) < Duration::from_secs(10) {
        air.pass(200);
        air.say(0, &ways[0], 10);
        air.say(1, &ways[1], 4);
    }
    assert_eq!(air.mode(), 10);
    assert!(air.now.since(back) >= Duration::from_secs(5), "{:?}", air.now.since(back));
}

#[test]
fn a_way_that_has_closed_is_told_and_the_other_link_is_listened_to_at_once() {
    let (mut air, ways) = (Air::new(), ways(2));
    air.say(1, &ways[1], 10);
    air.say(0, &ways[0], 5);
    let mut acts = Vec::new();
    air.fleet.closed(1, &ways[1], &mut acts);
    assert_eq!(acts, [Act::Way { vehicle: 0, link: 1, way: None }]);
    air.say(0, &ways[0], 4);
    assert_eq!(air.mode(), 4);
}

#[test]
fn who_has_the_same_system_id_does_not_take_a_vehicles_place() {
    let (mut air, ways) = (Air::new(), ways(2));
    air.say(0, &ways[0], 10);
    for _ in 0..30 {
        air.pass(100);
        assert_eq!(refused(&air.say(0, &ways[1], 4)), Some("another address"));
        air.pass(100);
        assert_eq!(refused(&air.say(0, &ways[0], 10)), None);
    }
    assert_eq!(air.mode(), 10);
    // One that was started again has another port.
    air.pass(1001);
    assert!(told(&air.say(0, &ways[1], 4), 0, &ways[1]));
    assert_eq!(air.mode(), 4);
}

#[test]
fn strangers_and_a_vehicle_that_becomes_another_kind_are_refused_and_named() {
    let (mut air, ways) = (Air::new(), ways(1));
    air.say(0, &ways[0], 10);
    let crowd: Vec<Packet> = (2..=255).map(|sysid| packet(sysid, 0, 4)).collect();
    let acts = air.hear(0, &ways[0], &crowd);
    assert!(acts.iter().all(|act| matches!(act, Act::Refused { why: "no vehicle of ours", .. })), "{acts:?}");
    let copter = parse(&bytes(1, 7, &beat(9, MavType::MAV_TYPE_QUADROTOR))).packets;
    assert_eq!(refused(&air.hear(0, &ways[0], &copter)), Some("another kind of vehicle"));
    assert_eq!(air.mode(), 10, "its numbers mean something else");
}

#[test]
fn a_copter_with_a_rovers_number_is_never_told_anything() {
    let (mut air, ways) = (Air::new(), ways(2));
    let copter = parse(&bytes(1, 7, &beat(9, MavType::MAV_TYPE_QUADROTOR))).packets;
    let acts = air.hear(0, &ways[0], &copter);
    assert!(acts.iter().all(|act| matches!(act, Act::Refused { .. })), "{acts:?}");
    // Where a rover was before, nothing is sent any more.
    air.say(0, &ways[0], 10);
    air.pass(1000);
    let acts = air.hear(0, &ways[0], &copter);
    assert_eq!(refused(&acts), Some("another kind of vehicle"));
    assert_eq!(acts.len(), 1, "a stranger on the same radio does not cut the rover off: {acts:?}");
    air.pass(1001);
    let acts = air.hear(0, &ways[0], &copter);
    assert!(acts.contains(&Act::Way { vehicle: 0, link: 0, way: None }), "{acts:?}");
}

#[test]
fn a_camera_of_the_vehicle_is_not_where_the_vehicle_is_and_keeps_no_link_alive() {
    let (mut air, ways) = (Air::new(), ways(3));
    let mut camera = packet(1, 0, 4);
    camera.compid = 100;
    assert!(air.hear(0, &ways[2], std::slice::from_ref(&camera)).is_empty());
    assert!(told(&air.say(0, &ways[0], 10), 0, &ways[0]));
    for _ in 0..10 {
        air.pass(200);
        air.hear(0, &ways[0], std::slice::from_ref(&camera));
        air.say(1, &ways[1], 4);
    }
    assert_eq!(air.mode(), 4, "its radio has only the camera");
}

#[test]
fn an_ack_that_the_network_repeats_counts_once() {
    let (mut air, ways) = (Air::new(), ways(1));
    air.say(0, &ways[0], 10);
    let mut buffer = Vec::new();
    command_ack(&mut Writer::new(1, 1, None), (1, 1), (176, 4), (245, 191), &mut buffer);
    let ack = parse(&buffer).packets;
    let acks = |acts: &[Act]| {
        let is =
            |act: &&Act| matches!(act, Act::Report(Report { heard: Heard::Ack { command: 176, result: 4, .. }, .. }));
        acts.iter().filter(is).count()
    };
    assert_eq!(acks(&air.hear(0, &ways[0], &ack)), 1);
    assert_eq!(acks(&air.hear(0, &ways[0], &ack)), 0);
    air.pass(1001);
    assert_eq!(acks(&air.hear(0, &ways[0], &ack)), 1);
}

#[test]
fn what_a_vehicle_says_in_words_is_kept() {
    let (mut air, ways) = (Air::new(), ways(1));
    air.say(0, &ways[0], 10);
    let said = MavMessage::STATUSTEXT(STATUSTEXT_DATA {
        severity: mavlink::dialects::ardupilotmega::MavSeverity::MAV_SEVERITY_CRITICAL,
        text: "PreArm: GPS\u{7f}1 not healthy".into(),
        ..STATUSTEXT_DATA::DEFAULT
    });
    let acts = air.hear(0, &ways[0], &parse(&bytes(1, 0, &said)).packets);
    let words = Act::Said { vehicle: 0, severity: 2, text: "PreArm: GPS 1 not healthy".into() };
    assert!(acts.contains(&words), "{acts:?}");
}

#[test]
fn addresses_of_links_are_read_and_wrong_ones_named() {
    let good = ["udpin:0.0.0.0:14550", "udpout:10.0.0.2:14550", "tcpin:[::1]:5760", "tcpout:10.0.0.2:5760"];
    assert!(good.iter().all(|url| LinkUrl::try_from((*url).to_owned()).is_ok()));
    assert_eq!(
        LinkUrl::try_from("serial:/dev/ttyUSB0:57600".to_owned()),
        Ok(LinkUrl::Serial("/dev/ttyUSB0".into(), 57600))
    );
    for url in
        ["", "udpin", "udpin:14550", "udp:127.0.0.1:1", "serial:ttyUSB0:57600", "serial:/dev/x", "serial:/dev/x:0"]
    {
        let error = LinkUrl::try_from(url.to_owned()).unwrap_err();
        assert!(error.contains("expected udpin:") && error.contains(&format!("{url:?}")), "{error}");
    }
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_gives_the_packets_that_are_in_it(
        junk in proptest::collection::vec(any::<u8>().prop_filter("no start byte", |b| *b != 0xFD && *b != 0xFE), 0..40),
        cuts in proptest::collection::vec(1usize..30, 1..60),
    ) {
        let mut stream = junk.clone();
        for sequence in 0..6 {
            stream.extend(bytes(1, sequence, &beat(10, MavType::MAV_TYPE_GROUND_ROVER)));
            stream.extend(&junk);
        }
        let (mut deframer, mut rest, mut sequences, mut garbage) = (Deframer::default(), &stream[..], Vec::new(), 0);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, left) = rest.split_at((*cut).min(rest.len()));
            let parsed = deframer.feed(part);
            sequences.extend(parsed.packets.iter().map(|packet| packet.sequence));
            garbage += parsed.garbage;
            rest = left;
        }
        prop_assert_eq!(sequences, (0..6).collect::<Vec<u8>>());
        prop_assert_eq!(garbage, junk.len() * 7);
    }

    #[test]
    fn a_stream_of_anything_is_taken_and_little_of_it_is_kept(parts in proptest::collection::vec(
        proptest::collection::vec(prop_oneof![Just(0xFDu8), Just(0xFEu8), any::<u8>()], 0..300), 0..20)) {
        let (mut deframer, mut fed, mut read) = (Deframer::default(), 0, 0);
        for part in &parts {
            fed += part.len();
            let parsed = deframer.feed(part);
            read += parsed.garbage + parsed.packets.iter().map(|packet| packet.raw.len()).sum::<usize>();
            prop_assert!(fed - read < 280, "{} bytes are kept", fed - read);
        }
    }
}
