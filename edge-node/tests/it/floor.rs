//! The time that certificates are judged by.

use edge_node::clock;
use edge_node::uplink::floor::Floor;
use shared::units::UtcMicros;

const DAY: i64 = 86_400_000_000;

fn far(days: i64) -> UtcMicros {
    UtcMicros(clock::utc().0 + days * DAY)
}

#[test]
fn what_was_told_holds_until_another_time_is_told_and_what_was_kept_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let floor = Floor::read(folder.path().to_owned());
    let judged = |floor: &Floor, at: UtcMicros| floor.now().0 >= at.0;
    let (near, wrong) = (far(1), far(4000));
    floor.told(wrong);
    assert!(judged(&floor, wrong));
    // The relay's clock is right again: nothing of its error stays.
    floor.told(near);
    assert!(judged(&floor, near) && !judged(&floor, wrong));
    floor.keep(near).unwrap();
    let again = Floor::read(folder.path().to_owned());
    assert!(judged(&again, near) && !judged(&again, far(2)));
    // Less than an hour more is not worth a write.
    floor.keep(UtcMicros(near.0 + 60_000_000)).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("floor")).unwrap(), format!("{}\n", near.0));
    // Enrolled anew.
    let begun = UtcMicros(near.0 - DAY / 2);
    again.begin(begun).unwrap();
    assert!(judged(&again, begun) && !judged(&again, near));
}

#[test]
fn a_clock_that_stands_behind_it_does_not_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let floor = Floor::read(folder.path().to_owned());
    floor.told(far(100));
    let before = floor.now();
    // Time goes on by itself: no sleep, the clock has microseconds.
    while floor.now() == before {}
    assert!(floor.now() > before);
}

#[test]
fn a_floor_that_cannot_be_read_is_the_release_of_this_build() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("floor"), b"\xff no number").unwrap();
    assert!(Floor::read(folder.path().to_owned()).now().0 >= 1_793_491_200_000_000);
}
