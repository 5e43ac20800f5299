//! Missions, fences, parameters and clocks of a vehicle: read, written, read back, and what a vehicle may do wrong meanwhile.

use std::time::Duration;

use edge_node::vehicle::codec::Packet;
use edge_node::vehicle::errands::{Doing, Errands, Found, Out, Wanted, Wish};
use edge_node::vehicle::message::{ABOVE_HOME, NAV_WAYPOINT};
use edge_node::vehicle::plan::{INCLUSION, Item, Kind, MOST, Verdict};
use mavlink::Message;
use mavlink::dialects::ardupilotmega::MavMessage;
use shared::units::Uptime;

const STILL: Option<Doing> = Some(Doing { still: true, drives: false });
const OURS: u8 = 245;
const THEIRS: u8 = 1;
const COUNT: u32 = 44;
const LIST: u32 = 43;
const REQUEST: u32 = 51;
const ACK: u32 = 47;
const ITEM: u32 = 73;
const PARAM_VALUE: u32 = 22;
const TIMESYNC: u32 = 111;

fn corner(n: i32) -> Item {
    Item { command: INCLUSION, frame: 0, params: [3.0, 0.0, 0.0, 0.0], lat_e7: n, lon_e7: -n, height_m: 0.0 }
}

fn waypoint(n: i32) -> Item {
    Item { command: NAV_WAYPOINT, frame: ABOVE_HOME, params: [0.0; 4], lat_e7: n, lon_e7: n, height_m: 20.0 }
}

/// A vehicle that holds plans as ArduPilot does, and may be made to do it badly.
struct Vehicle {
    plans: [Vec<Item>; 2],
    writing: Option<(usize, u16, Vec<Item>)>,
    /// Messages of ours that are lost on the way, from now on.
    lose: usize,
    /// It keeps another place than it was told.
    bends: bool,
    /// It answers this instead.
    refuses: Option<u8>,
}

/// The errands under test, and simulated time.
struct Rig {
    errands: Errands,
    vehicle: Vehicle,
    now: Uptime,
    doing: Option<Doing>,
    /// What was said to the vehicle, by number.
    said: Vec<u32>,
    answers: Vec<Result<Found, String>>,
}

impl Vehicle {
    /// Its answers, as message number and payload.
    fn take(&mut self, id: u32, bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let ack = |result, kind| vec![(ACK, vec![OURS, 191, result, kind])];
        match id {
            LIST => {
                let kind = bytes.get(2).copied().unwrap_or(0);
                let [low, high] = u16::try_from(self.plans[usize::from(kind)].len()).unwrap().to_le_bytes();
                vec![(COUNT, vec![low, high, OURS, 191, kind])]
            }
            REQUEST => {
                let (seq, kind) = (u16::from_le_bytes([bytes[0], bytes[1]]), bytes[4]);
                let item = self.plans[usize::from(kind)][usize::from(seq)];
                let kind = if kind == 1 { Kind::Fence } else { Kind::Mission };
                vec![(ITEM, item.payload(kind, seq, OURS).to_vec())]
            }
            COUNT => {
                let (count, kind) = (u16::from_le_bytes([bytes[0], bytes[1]]), bytes[4]);
                if let Some(result) = self.refuses {
                    return ack(result, kind);
                }
                self.writing = Some((usize::from(kind), count, Vec::new()));
                vec![(REQUEST, vec![0, 0, OURS, 191, kind])]
            }
            ITEM => {
                let (mut item, seq, to, kind) = Item::read(bytes);
                assert_eq!(to, THEIRS);
                let Some((of, count, items)) = &mut self.writing else { return Vec::new() };
                if usize::from(seq) == items.len() {
                    item.lat_e7 += i32::from(self.bends);
                    items.push(item);
                }
                let next = u16::try_from(items.len()).unwrap();
                if next < *count {
                    let [low, high] = next.to_le_bytes();
                    return vec![(REQUEST, vec![low, high, OURS, 191, kind])];
                }
                self.plans[*of] = items.clone();
                self.writing = None;
                ack(0, kind)
            }
            _ => Vec::new(),
        }
    }
}

fn packet(id: u32, payload: &[u8]) -> Packet {
    Packet { sysid: THEIRS, compid: 1, id, payload: payload.to_vec(), ..Packet::default() }
}

impl Rig {
    fn new(fence: Vec<Item>, held: [Vec<Item>; 2]) -> Self {
        let check = Box::new(|items: &[Item]| match items.iter().any(|item| item.command != NAV_WAYPOINT) {
            true => Verdict::Item(1),
            false => Verdict::Good,
        });
        let errands = Errands::new((THEIRS, OURS), true, Wanted { fence, check });
        let vehicle = Vehicle { plans: held, writing: None, lose: 0, bends: false, refuses: None };
        let now = Uptime::from_millis(100_000);
        Self { errands, vehicle, now, doing: STILL, said: Vec::new(), answers: Vec::new() }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.now = self.now.plus(Duration::from_millis(50));
            let mut out = Vec::new();
            self.errands.tick(self.doing, self.now, &mut out);
            self.deliver(out);
        }
    }

    fn deliver(&mut self, mut out: Vec<Out>) {
        while !out.is_empty() {
            let mut next = Vec::new();
            for one in out {
                match one {
                    Out::Answer(_, answer) => self.answers.push(answer),
                    Out::Say(id, payload) => {
                        self.said.push(id);
                        // What we say is what the mavlink crate reads.
                        MavMessage::parse(mavlink::MavlinkVersion::V2, id, &payload).unwrap();
                        if self.vehicle.lose > 0 && id != TIMESYNC {
                            self.vehicle.lose -= 1;
                            continue;
                        }
                        for (id, payload) in self.vehicle.take(id, &payload) {
                            self.errands.hear(&packet(id, &payload), self.now, &mut next);
                        }
                    }
                }
            }
            out = next;
        }
    }

    fn wish(&mut self, wish: Wish) {
        let mut out = Vec::new();
        self.errands.wish(7, wish, &mut out);
        self.deliver(out);
    }

    fn count(&self, id: u32) -> usize {
        self.said.iter().filter(|said| **said == id).count()
    }
}

fn triangle() -> Vec<Item> {
    (1..=3).map(corner).collect()
}

#[test]
fn a_fence_that_is_the_sites_is_left_alone_and_another_is_replaced_and_read_back() {
    let mut rig = Rig::new(triangle(), [Vec::new(), triangle()]);
    rig.pass(500);
    assert_eq!((rig.errands.plans.fence, rig.count(COUNT)), (Verdict::Good, 0));
    for held in [Vec::new(), vec![corner(9)], (2..=4).map(corner).collect()] {
        let mut rig = Rig::new(triangle(), [Vec::new(), held]);
        rig.pass(500);
        assert_eq!(rig.errands.plans.fence, Verdict::Good);
        assert_eq!(rig.vehicle.plans[1], triangle());
    }
}

#[test]
fn a_fence_is_not_replaced_under_what_flies_and_is_not_good_meanwhile() {
    let mut rig = Rig::new(triangle(), [Vec::new(), vec![corner(9)]]);
    rig.doing = Some(Doing { still: false, drives: false });
    rig.pass(3000);
    assert_eq!((rig.errands.plans.fence, rig.count(COUNT)), (Verdict::Other, 0));
    rig.doing = STILL;
    rig.pass(500);
    assert_eq!(rig.errands.plans.fence, Verdict::Good);
}

#[test]
fn what_was_taken_but_is_not_told_again_the_same_does_not_count_and_is_not_tried_without_end() {
    let mut rig = Rig::new(triangle(), [Vec::new(), Vec::new()]);
    rig.vehicle.bends = true;
    rig.pass(9000);
    assert_eq!(rig.errands.plans.fence, Verdict::Other);
    assert_eq!(rig.count(COUNT), 1);
    rig.pass(20_000);
    assert!((2..=4).contains(&rig.count(COUNT)), "every ten seconds, {}", rig.count(COUNT));
}

#[test]
fn lost_messages_are_said_again_and_silence_ends_a_transfer() {
    let mut rig = Rig::new(triangle(), [Vec::new(), Vec::new()]);
    rig.pass(1000);
    for lost in 1..6 {
        rig.vehicle.lose = lost;
        rig.answers.clear();
        rig.wish(Wish::Write(vec![waypoint(0), waypoint(5), waypoint(6)]));
        rig.pass(9000);
        let taken = lost < 5;
        assert_eq!(rig.answers.len(), 1, "{lost}");
        assert_eq!(rig.answers[0].is_ok(), taken, "{lost} lost: {:?}", rig.answers);
        if !taken {
            assert_eq!(rig.answers[0].clone().unwrap_err(), "mission of 1: it does not answer");
        }
    }
}

#[test]
fn a_mission_is_written_read_back_and_judged_and_home_is_the_vehicles_own() {
    let mut rig = Rig::new(Vec::new(), [Vec::new(), Vec::new()]);
    rig.pass(500);
    assert_eq!((rig.errands.plans.fence, rig.errands.plans.mission), (Verdict::Unknown, Verdict::Good));
    rig.wish(Wish::Write(vec![waypoint(0), waypoint(5), waypoint(6)]));
    rig.pass(200);
    assert!(matches!(&rig.answers[..], [Ok(Found::Items(items))] if items.len() == 3), "{:?}", rig.answers);
    rig.vehicle.plans[0][0] = corner(77);
    rig.wish(Wish::Read(Kind::Mission));
    rig.pass(500);
    assert_eq!(rig.errands.plans.mission, Verdict::Good);
    rig.vehicle.plans[0][1] = corner(78);
    rig.wish(Wish::Read(Kind::Mission));
    rig.pass(500);
    assert_eq!(rig.errands.plans.mission, Verdict::Item(1));
    rig.vehicle.bends = true;
    rig.answers.clear();
    rig.wish(Wish::Write(vec![waypoint(0), waypoint(5)]));
    rig.pass(500);
    assert_eq!(rig.answers, [Err("what it took is not what was sent".to_owned())]);
}

#[test]
fn a_refusal_says_why() {
    let mut rig = Rig::new(Vec::new(), [Vec::new(), Vec::new()]);
    rig.pass(500);
    rig.vehicle.refuses = Some(4);
    rig.wish(Wish::Write(vec![waypoint(0), waypoint(5)]));
    rig.pass(500);
    assert_eq!(rig.answers, [Err("mission of 1: it has no room".to_owned())]);
}

#[test]
fn a_vehicle_that_claims_too_much_asks_for_what_is_not_there_or_answers_others_is_not_followed() {
    let mut rig = Rig::new(triangle(), [Vec::new(), Vec::new()]);
    rig.vehicle.lose = usize::MAX;
    rig.pass(50);
    assert_eq!(rig.said.last(), Some(&LIST));
    let mut out = Vec::new();
    let [low, high] = (MOST + 1).to_le_bytes();
    // Of a mission, and to somebody else: neither is the answer.
    rig.errands.hear(&packet(COUNT, &[low, high, OURS, 191, 0]), rig.now, &mut out);
    rig.errands.hear(&packet(COUNT, &[low, high, 255, 190, 1]), rig.now, &mut out);
    assert_eq!(out, []);
    rig.errands.hear(&packet(COUNT, &[low, high, OURS, 191, 1]), rig.now, &mut out);
    assert_eq!(out, [], "701 items are refused without asking for one");
    let before = rig.said.len();
    rig.pass(5000);
    assert_eq!(rig.said[before..].iter().filter(|id| **id == LIST).count(), 4, "the mission is read meanwhile");
    // Written: it asks for an item that there is not.
    let mut rig = Rig::new(Vec::new(), [Vec::new(), Vec::new()]);
    rig.pass(500);
    rig.vehicle.lose = usize::MAX;
    rig.wish(Wish::Write(vec![waypoint(0), waypoint(5)]));
    rig.pass(50);
    let mut out = Vec::new();
    rig.errands.hear(&packet(REQUEST, &[9, 0, OURS, 191, 0]), rig.now, &mut out);
    assert_eq!(out, [Out::Answer(7, Err("mission of 1: it asked for item 9 of 2".into()))]);
}

#[test]
fn too_many_wishes_are_refused_and_a_silent_vehicle_is_not_asked_by_itself() {
    let mut rig = Rig::new(triangle(), [Vec::new(), Vec::new()]);
    rig.doing = None;
    rig.pass(10_000);
    assert_eq!(rig.count(LIST), 0);
    for _ in 0..5 {
        rig.wish(Wish::Read(Kind::Mission));
    }
    assert_eq!(rig.answers, [Err("too much waits for this vehicle already".to_owned())]);
}

/// PARAM_VALUE of one of so many.
fn parameter(index: u16, count: u16, value: f32) -> Packet {
    let name = format!("P_{index}");
    let mut payload = [0; 25];
    payload[..4].copy_from_slice(&value.to_le_bytes());
    payload[4..6].copy_from_slice(&count.to_le_bytes());
    payload[6..8].copy_from_slice(&index.to_le_bytes());
    payload[8..8 + name.len()].copy_from_slice(name.as_bytes());
    payload[24] = 9;
    packet(PARAM_VALUE, &payload)
}

#[test]
fn all_parameters_are_read_and_what_did_not_come_is_asked_for_by_number() {
    let mut rig = Rig::new(Vec::new(), [Vec::new(), Vec::new()]);
    rig.pass(500);
    rig.wish(Wish::Params);
    rig.pass(100);
    assert_eq!(rig.said.last(), Some(&21));
    let mut out = Vec::new();
    for index in (0..100).filter(|index| index % 10 != 3) {
        rig.errands.hear(&parameter(index, 100, f32::from(index)), rig.now, &mut out);
    }
    rig.errands.hear(&parameter(u16::MAX, 100, 1.0), rig.now, &mut out);
    rig.errands.hear(&parameter(7, u16::MAX, 1.0), rig.now, &mut out);
    assert_eq!(rig.answers, []);
    rig.said.clear();
    rig.pass(1100);
    assert_eq!(rig.count(20), 10);
    for index in (0..100).filter(|index| index % 10 == 3) {
        rig.errands.hear(&parameter(index, 100, f32::from(index)), rig.now, &mut out);
    }
    rig.pass(100);
    let Ok(Found::Params(found)) = &rig.answers[0] else { panic!("{:?}", rig.answers) };
    assert_eq!((found.len(), found[42].name.as_str(), found[42].value), (100, "P_42", 42.0));
    rig.answers.clear();
    rig.wish(Wish::Params);
    rig.pass(15_000);
    assert_eq!(rig.answers, [Err("0 of an unknown number parameters came".to_owned())]);
}

#[test]
fn a_clock_is_measured_by_our_own_question_alone_and_its_questions_are_answered() {
    let mut rig = Rig::new(Vec::new(), [Vec::new(), Vec::new()]);
    rig.pass(50);
    let asked = rig.now;
    let question = i64::try_from(asked.since(Uptime(0)).as_nanos()).unwrap();
    let answer = |tc1: i64, ts1: i64| packet(111, &[tc1.to_le_bytes(), ts1.to_le_bytes()].concat());
    rig.now = rig.now.plus(Duration::from_millis(40));
    let mut out = Vec::new();
    rig.errands.hear(&answer(9, question + 1), rig.now, &mut out);
    assert!(rig.errands.sync.is_none(), "that was another's question");
    rig.errands.hear(&answer(question + 20_000_000 + 5_000_000, question), rig.now, &mut out);
    let sync = rig.errands.sync.unwrap();
    assert_eq!((sync.offset_us, sync.round_trip_us), (5000, 40_000));
    assert_eq!(out, []);
    rig.errands.hear(&answer(0, 1234), rig.now, &mut out);
    let [Out::Say(111, payload)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(payload[8..], 1234_i64.to_le_bytes());
    assert_ne!(payload[..8], [0; 8]);
}

#[test]
fn a_mission_that_is_being_replaced_is_not_good_and_one_that_is_driven_is_not_replaced() {
    let mut rig = Rig::new(Vec::new(), [Vec::new(), Vec::new()]);
    rig.pass(500);
    rig.vehicle.lose = usize::MAX;
    rig.wish(Wish::Write(vec![waypoint(0), waypoint(5)]));
    rig.pass(100);
    assert_eq!(rig.errands.plans.mission, Verdict::Half);
    rig.pass(9000);
    assert!(rig.answers[0].is_err());
    assert_eq!(rig.errands.plans.mission, Verdict::Half, "an autopilot may hold half of each");
    rig.vehicle.lose = 0;
    rig.pass(12_000);
    assert_eq!(rig.errands.plans.mission, Verdict::Good, "read again");
    rig.vehicle.lose = usize::MAX;
    rig.pass(330_000);
    assert_eq!(rig.errands.plans.mission, Verdict::Unknown);
    rig.doing = Some(Doing { still: true, drives: true });
    rig.answers.clear();
    rig.vehicle.lose = 0;
    rig.pass(20_000);
    rig.wish(Wish::Write(vec![waypoint(0), waypoint(5)]));
    rig.pass(500);
    assert_eq!(rig.answers, [Err("it is on its mission, or not heard".to_owned())]);
}

#[test]
fn a_vehicle_that_asks_for_one_item_without_end_is_left_and_an_ack_twice_is_no_failure() {
    let mut rig = Rig::new(Vec::new(), [Vec::new(), Vec::new()]);
    rig.pass(500);
    rig.wish(Wish::Write(vec![waypoint(0), waypoint(5)]));
    rig.vehicle.lose = usize::MAX;
    for _ in 0..130 {
        rig.pass(1000);
        let mut out = Vec::new();
        rig.errands.hear(&packet(REQUEST, &[0, 0, OURS, 191, 0]), rig.now, &mut out);
    }
    assert_eq!(rig.answers, [Err("mission of 1: it does not come to an end".to_owned())]);
    let mut rig = Rig::new(Vec::new(), [Vec::new(), Vec::new()]);
    rig.pass(500);
    rig.wish(Wish::Write(vec![waypoint(0), waypoint(5)]));
    rig.pass(50);
    let mut out = Vec::new();
    rig.errands.hear(&packet(ACK, &[OURS, 191, 0, 0]), rig.now, &mut out);
    assert_eq!(out, []);
    rig.pass(500);
    assert!(rig.answers[0].is_ok(), "{:?}", rig.answers);
}
