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
            Step::Send { lane, at: before } => {
                session.happened(Outcome::Acked { lane, at: at(before.pos + 1) }, Uptime(1));
                lane
            }
            other => panic!("{other:?}"),
        })
        .collect()
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
        assert_eq!(session.next(Uptime(1)), Step::Send { lane, at: at(0) });
        session.happened(Outcome::Empty(lane), Uptime(1));
    }
    assert_eq!(session.next(Uptime(1)), Step::Send { lane: Lane::Detection, at: at(0) });
}

#[test]
fn waits_double_up_to_ten_seconds_and_end_with_the_first_success() {
    let mut session = Session::new([Head::NONE; 5]);
    let mut now = Uptime::from_millis(1000);
    let mut waits = Vec::new();
    for _ in 0..10 {
        session.happened(Outcome::Failed { retry_after: None, jitter: 1.0 }, now);
        let Step::Wait(wait) = session.next(now) else { panic!("no wait after a failure") };
        waits.push(wait.as_millis());
        now = now.plus(wait);
    }
    assert_eq!(waits[..5], [200, 400, 800, 1600, 3200]);
    assert_eq!(waits[9], 10_000);
    session.happened(Outcome::Acked { lane: Lane::Safety, at: at(5) }, now);
    assert!(!session.failing());
    session.happened(Outcome::Failed { retry_after: Some(Duration::from_secs(7)), jitter: 0.0 }, now);
    assert_eq!(session.next(now), Step::Wait(Duration::from_secs(7)));
}

#[test]
fn a_relay_that_is_behind_makes_the_lane_rewind() {
    let mut session = Session::new([at(500); 5]);
    session.happened(Outcome::Rewind { lane: Lane::Safety, at: at(20) }, Uptime(1));
    assert_eq!(session.next(Uptime(1)), Step::Send { lane: Lane::Safety, at: at(20) });
}
