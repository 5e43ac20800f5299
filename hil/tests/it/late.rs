//! Kafka that acknowledges late, and a node that is alone for long.

use std::time::Duration;

use hil::servers::{Addresses, Servers};
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use hil::witness;
use serde_json::json;

use crate::clock::with_clock;

const LONG: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn kafka_that_acknowledges_late_holds_up_nobody_and_loses_nothing() {
    let mut servers = Servers::start().unwrap();
    let place = servers.addresses().place("late").await.unwrap();
    let mut site = Site::prepare(place, Ports::free().unwrap(), &Plan::default(), None).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    let mut posted = site.read_many(20).await.unwrap();
    site.until_central(&posted, LONG).await.unwrap();
    servers.kafka().pause().unwrap();
    let late = site.read_many(100).await.unwrap();
    // The node hears from the relay meanwhile: its outbox empties, the relay's fills.
    let taken = async || match witness::backlog(&site.data()) {
        Ok(waiting) if waiting <= 2 => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("the relay to take events while Kafka is silent", LONG, taken).await.unwrap();
    let central = witness::central(&site.place.postgres).await.unwrap();
    assert!(central.outbox >= 100, "{} rows in the outbox", central.outbox);
    assert_eq!(late.intersection(&central.ids).count(), 0, "in the event store before Kafka had it");
    servers.kafka().go_on().unwrap();
    posted.extend(late);
    site.until_central(&posted, LONG).await.unwrap();
    let report = hil::demo::count(&site).await.unwrap();
    let wrong = (report.lost, report.duplicated, report.misplaced, report.unpublished, report.disordered);
    assert_eq!(wrong, (0, 0, 0, 0, 0), "{report:?}");
    drop(site);
    servers.stop().unwrap();
}

/// Promise 9: the node works with no uplink, no clock source and no cloud, and reboots into service with none of them.
#[tokio::test(flavor = "multi_thread")]
async fn promise_9_a_node_alone_in_1970_reboots_into_service_and_keeps_everything() {
    let place = Addresses::find().unwrap().place("alone").await.unwrap();
    let mut site = Site::prepare(place, Ports::free().unwrap(), &Plan::default(), None).unwrap();
    site.start_relay().unwrap();
    site.relay.take().unwrap().kill().unwrap();
    let mut posted = std::collections::HashSet::new();
    for boot in 0..3 {
        let mut node = with_clock(&site, "@1970-01-01 00:00:10");
        site.trace_node(&mut node).unwrap();
        site.node.as_mut().unwrap().wait_for_output("node is ready", LONG).unwrap();
        posted.extend(site.read_many(20).await.unwrap());
        let pressed = site.state().await.unwrap()["interlock"]["estop"] == true;
        assert_eq!(pressed, boot > 0, "boot {boot}: the latch is kept");
        assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
        let acted = async || match site.state().await {
            Ok(state) if state["interlock"]["estop"] == true => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually("the e-stop to act", LONG, acted).await.unwrap();
        // It acts first and is kept after.
        let kept = async || {
            let copies = ["estop.a", "estop.b"].map(|copy| std::fs::read_to_string(site.data().join(copy)));
            let said = |copy: &std::io::Result<String>| copy.as_ref().is_ok_and(|copy| copy.starts_with("pressed"));
            if copies.iter().all(said) { Ok(()) } else { Err(format!("{copies:?}")) }
        };
        eventually("the latch to be on the disk", LONG, kept).await.unwrap();
        site.node.take().unwrap().kill().unwrap();
    }
    site.start_relay().unwrap();
    let mut node = with_clock(&site, "@1970-01-01 00:00:10");
    site.trace_node(&mut node).unwrap();
    site.node.as_mut().unwrap().wait_for_output("node is ready", LONG).unwrap();
    site.until_central(&posted, LONG).await.unwrap();
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap();
    assert!(proved.contains("complete from 1 to") && !proved.contains("gap"), "{proved}");
}
