//! Promise 1 over links that fail: cut, slow, silent, half open, gone.

use std::time::Duration;

use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::wait::{eventually, now};
use hil::witness;
use serde_json::json;
use sim::link::{Link, Weather};

/// Events posted at a time.
const EVENTS: u64 = 40;
const LONG: Duration = Duration::from_secs(60);
/// From a good link to the last event at the centre: an answer that is still awaited, the look for the relay, a batch.
const RECOVERY: Duration = Duration::from_secs(15);

/// Exchanges with the relay that failed, as the node counts them.
async fn failures(site: &Site) -> u64 {
    let metrics = site.metrics().await.unwrap();
    let line = metrics.lines().find(|line| line.starts_with("picket_uplink_failures_total"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_link_does_nothing_acknowledged_is_lost_or_twice() {
    let place = Addresses::find().unwrap().place("link").await.unwrap();
    let ports = Ports::free().unwrap();
    let link = Link::start(ports.fleet, 7).unwrap();
    let plan = Plan { node: "timeout = \"2s\"\n".into(), ..Plan::default() };
    let mut site = Site::prepare(place, ports, &plan, Some(link.port())).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    let mut acknowledged = site.read_many(EVENTS).await.unwrap();
    let weathers = [
        Weather::Slow { bytes_per_second: 10_000, delay: Duration::from_millis(100) },
        Weather::Lossy { mean_bytes: 6000 },
        Weather::Withheld,
        Weather::BlackHole,
        Weather::HalfOpen,
        Weather::Down,
    ];
    for weather in weathers {
        link.set(weather);
        let (before, mut posted) = (failures(&site).await, site.read_many(EVENTS).await.unwrap());
        let felt = async || {
            // Traffic goes on: a link that nothing is sent over fails nobody.
            if !matches!(weather, Weather::Slow { .. }) {
                posted.extend(site.read_many(EVENTS).await.unwrap());
            }
            let (failed, waiting) = (failures(&site).await - before, site.missing(&posted).await.unwrap());
            let enough = match weather {
                // It is slow, and it carries everything.
                Weather::Slow { .. } => waiting == 0,
                Weather::Lossy { .. } => failed >= 3,
                Weather::Withheld => failed >= 1 && link.swallowed() > 0,
                _ => failed >= 1,
            };
            if enough { Ok(()) } else { Err(format!("{failed} failures, {waiting} events wait")) }
        };
        eventually(&format!("{weather:?} to be felt"), LONG, felt).await.unwrap();
        link.set(Weather::Clear);
        let begun = now();
        site.until_central(&posted, RECOVERY).await.unwrap_or_else(|error| panic!("{weather:?}: {error:#}"));
        println!("{weather:?}: {} failures, drained {:?} after", failures(&site).await - before, begun.elapsed());
        acknowledged.extend(posted);
    }
    let report = hil::demo::count(&site).await.unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let gaps: i64 = db.query_one("SELECT count(*) FROM gap", &[]).await.unwrap().get(0);
    assert_eq!(
        (site.missing(&acknowledged).await.unwrap(), report.lost, report.duplicated, gaps),
        (0, 0, 0, 0),
        "{report:?}"
    );
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap();
    assert!(proved.contains("complete from 1 to") && !proved.contains("gap"), "{proved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_says_everything_twice_stores_everything_once() {
    let place = Addresses::find().unwrap().place("twice").await.unwrap();
    let ports = Ports::free().unwrap();
    // Over TLS a connection said twice is refused by itself; what must hold without it is the relay's own doing.
    let link = Link::start(ports.relay, 7).unwrap();
    link.set(Weather::Duplicated);
    let mut site = Site::prepare(place, ports, &Plan { plain: true, ..Plan::default() }, Some(link.port())).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    let posted = site.read_many(EVENTS * 5).await.unwrap();
    site.until_central(&posted, LONG).await.unwrap();
    let report = hil::demo::count(&site).await.unwrap();
    let wrong = (report.lost, report.duplicated, report.misplaced, report.unpublished, report.disordered);
    assert_eq!(wrong, (0, 0, 0, 0, 0), "{report:?}");
    let metrics = site.relay_metrics().await.unwrap();
    let twice = metrics.lines().find_map(|line| line.strip_prefix("picket_relay_duplicate_items_total "));
    assert!(twice.unwrap().parse::<u64>().unwrap() > 0, "nothing came twice: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_metered_link_safety_goes_through_and_telemetry_waits_for_a_better_one() {
    let place = Addresses::find().unwrap().place("metered").await.unwrap();
    let node = "bytes_per_second = 100000\nmetered = { interfaces = [\"lo\"], lanes = [\"safety\"] }\n";
    let plan = Plan { node: node.into(), ..Plan::default() };
    let mut site = Site::prepare(place, Ports::free().unwrap(), &plan, None).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    let posted = site.read_many(EVENTS).await.unwrap();
    assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
    let pressed = async || {
        let db = witness::sql(&site.place.postgres).await.map_err(|error| format!("{error:#}"))?;
        let sql = "SELECT count(*) FROM event_store WHERE event_type = 'estop.changed'";
        let count: i64 = db.query_one(sql, &[]).await.map_err(|error| error.to_string())?.get(0);
        if count > 0 { Ok(()) } else { Err(format!("{count} presses")) }
    };
    eventually("the press to be central", LONG, pressed).await.unwrap();
    assert_eq!(site.missing(&posted).await.unwrap(), posted.len(), "telemetry was sent over the metered link");
    assert_eq!(site.state().await.unwrap()["uplink"]["metered"], true);
    // The cable is back: as if the configuration named another modem.
    site.node.take().unwrap().stop(LONG).unwrap();
    let config = site.folder().join("node.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("\"lo\"", "\"wwan0\"");
    std::fs::write(&config, text).unwrap();
    site.start_node().unwrap();
    site.until_central(&posted, LONG).await.unwrap();
}
