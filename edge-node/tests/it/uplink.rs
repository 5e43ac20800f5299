//! The session with the relay as a pure machine: urgency, shares, backoff.

use std::time::Duration;

use edge_node::journal::block::Head;
use edge_node::uplink::session::{Outcome, Session, Step};
use shared::ids::Lane;
use shared::units::Uptime;

fn at(pos: i64) -> Head {
    Head { pos, ..Head::NONE }
}

/// Which lane each of `count` sends is for, when every lane has endless items.
fn sends(session: &mut Session, count: usize) -> Vec<Lane> {
    (0..count)
        .map(|_| match session.next(Uptime(1)) {
            Step::Send { lane, at: before, .. } => {
                session.happened(Outcome::Acked { lane, at: at(before.pos + 1) }, Uptime(1));
                lane
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

fn sent(session: &mut Session, now: Uptime) -> Option<(Lane, Head)> {
    match session.next(now) {
        Step::Send { lane, at, .. } => Some((lane, at)),
        _ => None,
    }
}

#[test]
fn urgent_lanes_go_first_and_no_lane_starves() {
    let lanes = sends(&mut Session::new([Head::NONE; 5]), 62);
    assert!(lanes.iter().take(16).all(|lane| *lane == Lane::Safety));
    for lane in Lane::ALL {
        let count = lanes.iter().filter(|sent| **sent == lane).count();
        assert!(count >= 2, "{lane} was sent {count} times of 62");
    }
}

#[test]
fn a_lane_with_nothing_to_send_gives_way() {
    let mut session = Session::new([Head::NONE; 5]);
    for lane in [Lane::Safety, Lane::Alert] {
        assert_eq!(sent(&mut session, Uptime(1)), Some((lane, at(0))));
        session.happened(Outcome::Empty(lane), Uptime(1));
    }
    assert_eq!(sent(&mut session, Uptime(1)), Some((Lane::Detection, at(0))));
}

#[test]
fn waits_double_up_to_ten_seconds_and_end_with_the_first_success() {
    let mut session = Session::new([Head::NONE; 5]);
    let mut now = Uptime::from_millis(1000);
    let mut waits = Vec::new();
    for _ in 0..10 {
        session.happened(Outcome::Failed { retry_after: None, jitter: 1.0, reached: true }, now);
        let Step::Wait(wait) = session.next(now) else { panic!("no wait after a failure") };
        waits.push(wait.as_millis());
        now = now.plus(wait);
    }
    assert_eq!(waits[..5], [200, 400, 800, 1600, 3200]);
    assert_eq!(waits[9], 10_000);
    session.happened(Outcome::Acked { lane: Lane::Safety, at: at(5) }, now);
    assert!(!session.failing());
    session.happened(Outcome::Failed { retry_after: Some(Duration::from_secs(7)), jitter: 0.0, reached: true }, now);
    assert_eq!(session.next(now), Step::Wait(Duration::from_secs(7)));
}

#[test]
fn a_relay_that_is_behind_makes_the_lane_rewind() {
    let mut session = Session::new([at(500); 5]);
    session.happened(Outcome::Rewind { lane: Lane::Safety, at: at(20) }, Uptime(1));
    assert_eq!(sent(&mut session, Uptime(1)), Some((Lane::Safety, at(20))));
}

#[test]
fn a_relay_that_cannot_be_reached_is_looked_for_and_the_wait_ends_when_it_is_there() {
    let mut session = Session::new([Head::NONE; 5]);
    let mut now = Uptime::from_millis(1000);
    let unreached = Outcome::Failed { retry_after: None, jitter: 1.0, reached: false };
    for _ in 0..8 {
        session.happened(unreached, now);
    }
    assert_eq!(session.next(now), Step::Wait(Duration::from_secs(1)));
    for _ in 0..3 {
        now = now.plus(Duration::from_secs(1));
        assert_eq!(session.next(now), Step::Probe);
        session.happened(Outcome::Probed(false), now);
    }
    now = now.plus(Duration::from_secs(1));
    assert_eq!(session.next(now), Step::Probe);
    session.happened(Outcome::Probed(true), now);
    assert!(sent(&mut session, now).is_some(), "the wait is over at once");
    // Whoever was there all the time and did not answer is not asked again before its time.
    session.happened(unreached, now);
    let later = now.plus(Duration::from_secs(1));
    assert_eq!(session.next(later), Step::Probe);
    session.happened(Outcome::Probed(true), later);
    assert_eq!(session.next(later), Step::Wait(Duration::from_secs(1)));
    // Nor is who answers with a refusal.
    now = now.plus(Duration::from_secs(20));
    session.happened(Outcome::Failed { retry_after: None, jitter: 1.0, reached: true }, now);
    assert_eq!(session.next(now), Step::Wait(Duration::from_secs(10)));
}

#[test]
fn a_limit_is_kept_and_urgent_lanes_do_not_wait_for_it() {
    let mut session = Session::new([Head::NONE; 5]);
    session.use_link(&Lane::ALL, Some(10_000));
    let (mut now, mut bulk_bytes, mut urgent) = (Uptime::from_millis(1000), 0u64, 0);
    let end = now.plus(Duration::from_secs(60));
    while now < end {
        match session.next(now) {
            Step::Send { lane: lane @ (Lane::Safety | Lane::Alert), .. } => {
                // A small one every second.
                let due = now.0 / 1_000_000 > urgent;
                session.happened(Outcome::Empty(lane), now);
                if due {
                    urgent = now.0 / 1_000_000;
                    session.spent(100, now);
                    bulk_bytes += 800;
                }
            }
            Step::Send { lane, at: before, bytes } => {
                assert!(bytes <= 10_000, "about a second of the limit, {bytes}");
                session.spent(5000, now);
                bulk_bytes += 5700;
                session.happened(Outcome::Acked { lane, at: at(before.pos + 1) }, now);
            }
            Step::Wait(wait) => now = now.plus(wait),
            Step::Probe => panic!("nothing failed"),
        }
    }
    let rate = bulk_bytes / 60;
    assert!((9_000..=10_200).contains(&rate), "{rate} bytes/s of 10 000");
    assert!(urgent >= 59, "an urgent lane waited: {urgent}");
}

#[test]
fn over_a_metered_link_only_the_lanes_it_is_for_are_sent() {
    let mut session = Session::new([Head::NONE; 5]);
    session.use_link(&[Lane::Safety, Lane::Alert], None);
    assert!(sends(&mut session, 100).iter().all(|lane| matches!(lane, Lane::Safety | Lane::Alert)));
    session.use_link(&Lane::ALL, None);
    assert!(sends(&mut session, 100).contains(&Lane::Media));
}

#[test]
fn batches_grow_on_a_quick_link_and_shrink_on_a_bad_one() {
    let mut session = Session::new([Head::NONE; 5]);
    let bytes = |session: &mut Session| match session.next(Uptime(u64::MAX / 2)) {
        Step::Send { bytes, .. } => bytes,
        other => panic!("{other:?}"),
    };
    let first = bytes(&mut session);
    for _ in 0..10 {
        session.carried(Duration::from_millis(20));
    }
    assert_eq!(bytes(&mut session), 512 * 1024);
    for _ in 0..3 {
        session.carried(Duration::from_secs(5));
    }
    assert!(bytes(&mut session) < first);
    for _ in 0..10 {
        session.happened(Outcome::Failed { retry_after: None, jitter: 0.0, reached: false }, Uptime(0));
    }
    assert_eq!(bytes(&mut session), 8 * 1024, "and never to nothing");
}

#[test]
fn the_interface_is_that_of_the_longest_prefix_and_the_lowest_metric() {
    // As the kernel of a box with a cable, a modem and a tunnel shows them; little-endian words.
    let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        wwan0\t00000000\t0100000A\t0003\t0\t0\t700\t00000000\t0\t0\t0\n\
        wg0\t0000140A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
        broken line\n";
    let ipv6 = "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 00000400 00000000 00000000 00000001 wwan0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n";
    let interface = |to: &str| edge_node::uplink::route::interface(to.parse().unwrap(), route, ipv6);
    for (to, expected) in [
        ("8.8.8.8", Some("eth0")),
        ("10.20.3.4", Some("wg0")),
        ("127.0.0.1", Some("lo")),
        ("2001:db8::1", Some("wwan0")),
        ("2a00::1", None),
        ("::1", Some("lo")),
    ] {
        assert_eq!(interface(to).as_deref(), expected, "{to}");
    }
    let without_cable = route.replace("0003\t0\t0\t100", "0002\t0\t0\t100");
    let modem = edge_node::uplink::route::interface("8.8.8.8".parse().unwrap(), &without_cable, ipv6);
    assert_eq!(modem.as_deref(), Some("wwan0"));
}

#[test]
fn what_one_link_owes_does_not_hold_up_the_next() {
    let mut session = Session::new([Head::NONE; 5]);
    session.use_link(&Lane::ALL, Some(1000));
    let now = Uptime::from_millis(1000);
    // Alerts overdraw the modem by hours.
    session.spent(10_000_000, now);
    let bulk = |session: &mut Session, now| {
        let steps = std::iter::repeat_with(|| session.next(now)).take(64);
        steps.filter(|step| matches!(step, Step::Send { lane: Lane::Telemetry, .. })).count()
    };
    assert_eq!(bulk(&mut session.clone(), now), 0);
    assert!(bulk(&mut session.clone(), now.plus(Duration::from_secs(61))) > 0, "a debt lasts a minute at most");
    session.use_link(&Lane::ALL, None);
    assert!(bulk(&mut session, now) > 0, "the cable owes nothing");
}

#[test]
fn an_answer_that_is_no_ack_ends_an_outage_too() {
    let mut session = Session::new([Head::NONE; 5]);
    session.happened(Outcome::Failed { retry_after: None, jitter: 1.0, reached: false }, Uptime(1));
    assert!(session.failing());
    session.happened(Outcome::Reached, Uptime(2));
    assert!(!session.failing(), "the console shows the relay as connected, though nothing waits to be sent");
}
