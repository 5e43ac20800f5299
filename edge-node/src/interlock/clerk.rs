//! The safety thread's clerk: makes events of its decisions, shows them to the console and tells the alerts, on a
//! thread of its own. The safety thread only hands over: it takes no lock that a slower thread may hold.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use shared::event::{Occurred, Payload};
use shared::ids::TraceId;
use tokio::sync::{mpsc, watch};

use super::commands::Told;
use super::machine::RuleView;
use super::rules::estop::Latched;
use crate::alert::Signal;
use crate::clock::Stamp;
use crate::health::Metrics;
use crate::journal::Journal;

/// Decisions waiting for the clerk: minutes of trips and clears. Full (the disk has hung): the event is counted as lost
/// and the safety thread goes on.
pub const QUEUE: usize = 1024;

/// Who answers for a vehicle.
#[derive(Debug, Clone, Default)]
pub struct Responsible {
    /// Who holds its live lease.
    pub holder: Option<String>,
    /// Who has authorised its patrol.
    pub patrol: Option<String>,
}

/// What the console shows.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What the e-stop has latched.
    pub latched: Latched,
    /// Every rule on every vehicle.
    pub rules: Vec<RuleView>,
    /// Demand per vehicle.
    pub demands: Vec<&'static str>,
    /// Who answers for each vehicle.
    pub responsible: Vec<Responsible>,
    /// The last command of each.
    pub told: Vec<Option<Told>>,
    /// Output lines: whether each is energised, and faulty.
    pub outputs: Vec<(bool, bool)>,
}

enum Paper {
    Event(Occurred, String, Payload, Option<TraceId>),
    Signal(Signal),
    View(View),
}

/// The safety thread's end: never waits.
pub struct Desk {
    papers: SyncSender<Paper>,
    stamp: Stamp,
    metrics: Metrics,
}

/// The clerk: runs on its own thread until the safety thread has ended.
pub struct Clerk {
    papers: Receiver<Paper>,
    journal: Journal,
    alerts: mpsc::Sender<Signal>,
    view: watch::Sender<View>,
}

/// A clerk and the safety thread's end of its queue.
pub fn desk(
    journal: Journal,
    alerts: mpsc::Sender<Signal>,
    view: watch::Sender<View>,
    metrics: Metrics,
) -> (Desk, Clerk) {
    let (sender, papers) = sync_channel(QUEUE);
    let desk = Desk { papers: sender, stamp: journal.stamp(), metrics };
    (desk, Clerk { papers, journal, alerts, view })
}

impl Desk {
    /// An event about `aggregate`, stamped now. `trace`: the step of the machine that it follows from.
    pub fn note(&self, aggregate: String, payload: Payload, trace: Option<TraceId>) {
        if self.papers.try_send(Paper::Event(self.stamp.now(), aggregate, payload, trace)).is_err() {
            self.metrics.safety_events_lost.inc();
        }
    }

    /// What people should know. Without room the console still shows the rule itself.
    pub fn signal(&self, signal: Signal) {
        let _ = self.papers.try_send(Paper::Signal(signal));
    }

    /// The console's view; false when it must be shown again later.
    pub fn show(&self, view: View) -> bool {
        !matches!(self.papers.try_send(Paper::View(view)), Err(TrySendError::Full(_)))
    }
}

impl Clerk {
    /// Works until the safety thread's end is gone.
    pub fn run(self) {
        for paper in &self.papers {
            match paper {
                Paper::Event(occurred, aggregate, payload, trace) => {
                    let mut event = self.journal.event(aggregate, payload);
                    (event.occurred, event.trace_id) = (occurred, trace);
                    self.journal.note(event);
                }
                // Full: the console shows the rule itself.
                Paper::Signal(signal) => drop(self.alerts.try_send(signal)),
                Paper::View(view) => drop(self.view.send_replace(view)),
            }
        }
    }
}
