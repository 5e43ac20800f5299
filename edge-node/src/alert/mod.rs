//! Signals of other stages -> alerts with a life cycle. Each (rule, subject) has at most one alert at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::event::{Alert, Event, Payload};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::journal::{Journal, JournalError};

/// Signals waiting: bursts of one second of every camera and vehicle. Full: the signal is dropped, the cause stays
/// visible in its own stage and its own event.
pub const QUEUE: usize = 256;
/// Wait before an alert that the journal could not take is given to it again.
const RETRY: Duration = Duration::from_secs(1);

/// Something people should know began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Whether it began.
    pub active: bool,
    /// Rule.
    pub rule: String,
    /// What it is about.
    pub subject: String,
    /// A sentence for people.
    pub text: String,
}

/// The open alerts.
#[derive(Debug, Default)]
pub struct Alerts {
    open: BTreeMap<(String, String), Alert>,
    raised: u64,
}

impl Alerts {
    /// Takes a signal; gives the event it makes, if it changes anything.
    pub fn step(&mut self, signal: Signal) -> Option<Payload> {
        let key = (signal.rule.clone(), signal.subject.clone());
        if !signal.active {
            return self.open.remove(&key).map(|alert| Payload::AlertCleared(Alert { text: signal.text, ..alert }));
        }
        if self.open.contains_key(&key) {
            return None;
        }
        self.raised += 1;
        let Signal { rule, subject, text, .. } = signal;
        let alert = Alert { alert: self.raised, rule, subject, text };
        self.open.insert(key, alert.clone());
        Some(Payload::AlertRaised(alert))
    }

    /// The open alerts, by rule and subject.
    pub fn open(&self) -> Vec<Alert> {
        self.open.values().cloned().collect()
    }
}

/// Runs until every sender is gone.
pub async fn run(mut signals: mpsc::Receiver<Signal>, journal: Journal, view: watch::Sender<Vec<Alert>>) {
    let mut alerts = Alerts::default();
    while let Some(signal) = signals.recv().await {
        let subject = signal.subject.clone();
        let Some(payload) = alerts.step(signal) else { continue };
        keep(&journal, journal.event(subject, payload)).await;
        view.send_replace(alerts.open());
    }
    info!("alerts have ended");
}

/// Keeps an alert's event, however long the disk refuses: alerts are never dropped.
async fn keep(journal: &Journal, event: Event) {
    loop {
        match journal.append(event.clone()).await {
            Ok(_) | Err(JournalError::Closed) => return,
            Err(error @ JournalError::Refused(_)) => return warn!("failed to keep an alert: {error}"),
            Err(error) => warn!("failed to keep an alert: {error}; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
