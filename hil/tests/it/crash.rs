//! Promise 1 and 2: what was acknowledged is central, once, whatever kill -9 does.

use hil::crash::{moments, run};

/// Rounds in CI; each restarts the node. Seven kinds of moment take turns: four of the node, then one each of relay,
/// Postgres and Kafka.
const ROUNDS: usize = 14;
const SEED: u64 = 20261121;

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_event_survives_kill_nine() {
    let seed = std::env::var("PICKET_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("seed {seed}; to repeat: PICKET_SEED={seed} ./dev test an_acknowledged_event_survives_kill_nine");
    let outcome = run(seed, ROUNDS).await.unwrap();
    for fall in &outcome.falls {
        println!("{fall}");
    }
    println!("{} acknowledged; {:?}", outcome.acknowledged.len(), outcome.report);
    assert!(outcome.falls.iter().any(|fall| fall.contains("entering pwrite64 on bulk-")), "mid-commit");
    assert!(outcome.falls.iter().any(|fall| fall.contains("entering fsync on bulk-")), "before the sync");
    assert!(outcome.falls.iter().any(|fall| fall.contains("never reached the node")), "mid-acknowledgement");
    assert!(outcome.acknowledged.len() > 100, "{} acknowledged", outcome.acknowledged.len());
    assert_eq!(outcome.problem(), None, "{}", outcome.proved);
    assert_eq!(outcome.gaps_named, 0, "kill -9 damages nothing: a gap would be a lie");
}

#[test]
fn a_seed_gives_the_same_moments() {
    assert_eq!(moments(7, 20), moments(7, 20));
    assert_ne!(moments(7, 20), moments(8, 20));
}
