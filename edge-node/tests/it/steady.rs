//! The safety loop in its steady state: sixteen vehicles, thirty-two zones, no memory asked for.

use edge_node::cli::step::Site;

#[test]
fn the_safety_loop_asks_for_no_memory_while_nothing_changes() {
    let mut site = Site::new().unwrap();
    // Over a minute of a running site.
    let asked = allocation_counter::measure(|| site.run(60_000));
    assert_eq!((asked.count_total, asked.bytes_total), (0, 0));
    site.check().unwrap();
}
