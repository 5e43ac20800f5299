//! The safety loop in its steady state: sixteen vehicles, thirty-two zones, no memory asked for.

use std::time::Duration;

use edge_node::cli::step::Site;
use edge_node::interlock::machine::{Input, Machine, Policy};
use edge_node::interlock::recorder::recorder;
use edge_node::interlock::rules::estop::Latched;
use edge_node::vehicle::state::{Heard, Report, VehicleState};
use shared::units::Uptime;

#[test]
fn the_safety_loop_asks_for_no_memory_while_nothing_changes() {
    let mut site = Site::new().unwrap();
    // Over a minute of a running site.
    let asked = allocation_counter::measure(|| site.run(60_000));
    assert_eq!((asked.count_total, asked.bytes_total), (0, 0));
    site.check().unwrap();
}

#[test]
fn recording_what_it_takes_asks_for_no_memory_either_and_never_waits() {
    let folder = tempfile::tempdir().unwrap();
    let now = Uptime::from_millis(1000);
    let machine = Machine::new(Policy::default(), Latched::new(0, false), now);
    // Nobody writes: the disk hangs. Its queue is soon full.
    let (mut recorder, _scribe) = recorder(folder.path(), String::new(), 1 << 20);
    let report = Input::Vehicle(Report { vehicle: 0, state: VehicleState::default(), heard: Heard::State });
    let mut take = |input: &Input, at| {
        let kept = recorder.before(&machine, input, at);
        recorder.after(kept, &[], at);
    };
    // The first is given the machine, which a file begins with.
    take(&Input::Tick, now);
    let asked = allocation_counter::measure(|| {
        for n in 0..5000 {
            let at = now.plus(Duration::from_micros(100 * n));
            take(if n % 2 == 0 { &Input::Tick } else { &report }, at);
        }
    });
    assert_eq!((asked.count_total, asked.bytes_total), (0, 0));
}
