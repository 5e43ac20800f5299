//! The safety thread's door: what others tell it and ask of it, without waiting.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use shared::ids::EventId;
use tokio::sync::oneshot;

use super::machine::{Input, Source};
use super::rules::estop::Scope;
use crate::health::Metrics;
use crate::vehicle::way::Way;

/// Inputs waiting for the safety thread: two seconds of 16 vehicles and 8 cameras. Full: the input is counted and
/// lost, the next says the same, and silence trips.
pub const QUEUE: usize = 1024;
/// Presses have a queue of their own, looked at first, so that no flood of other inputs delays one.
pub(super) const PRESSES: usize = 64;
/// What the safety thread takes.
pub enum Message {
    /// An input of the machine.
    Input(Input),
    /// A request with its answer: no reasons mean permitted.
    Request(Input, EventId, oneshot::Sender<Vec<String>>),
    /// Where a vehicle is on a link: index of the vehicle, of the link.
    Way(usize, usize, Option<Way>),
}

/// Handle of the safety thread: cheap to clone.
#[derive(Clone)]
pub struct Interlock {
    queue: SyncSender<Message>,
    presses: SyncSender<Input>,
    metrics: Metrics,
}

/// The safety thread's ends of its queues.
pub struct Queues {
    pub(super) inputs: Receiver<Message>,
    pub(super) pressed: Receiver<Input>,
}

impl Interlock {
    /// A handle and the thread's ends of its queues.
    pub fn new(metrics: Metrics) -> (Self, Queues) {
        let (queue, inputs) = std::sync::mpsc::sync_channel(QUEUE);
        let (presses, pressed) = std::sync::mpsc::sync_channel(PRESSES);
        (Self { queue, presses, metrics }, Queues { inputs, pressed })
    }

    /// Tells the machine something; never waits.
    pub fn tell(&self, input: Input) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Input(input)) {
            self.metrics.interlock_inputs_lost.inc();
        }
    }

    /// Presses the e-stop; false only when as many presses are waiting already, or the safety thread has ended.
    pub fn press(&self, source: Source, by: String, scope: Scope) -> bool {
        self.urgent(Input::Press { source, by, scope })
    }

    /// Tells what was read of the hardware line, before everything else; false as [`Interlock::press`].
    pub fn line(&self, pressed: bool) -> bool {
        self.urgent(Input::Line { pressed })
    }

    fn urgent(&self, input: Input) -> bool {
        let taken = self.presses.try_send(input).is_ok();
        // Wakes the thread; a full queue means that it is awake.
        let _ = self.queue.try_send(Message::Input(Input::Tick));
        taken
    }

    /// Asks for a command; the answer is every reason against it, or `None` when the safety thread does not answer.
    pub async fn ask(&self, input: Input, id: EventId) -> Option<Vec<String>> {
        self.request(input, id)?.await.ok()
    }

    /// The same without waiting for the answer.
    pub fn request(&self, input: Input, id: EventId) -> Option<oneshot::Receiver<Vec<String>>> {
        let (answer, reasons) = oneshot::channel();
        self.queue.try_send(Message::Request(input, id, answer)).ok().map(|()| reasons)
    }

    /// Tells where a vehicle is on a link; false: there was no room, to be told again.
    pub fn way(&self, vehicle: usize, link: usize, way: Option<Way>) -> bool {
        self.queue.try_send(Message::Way(vehicle, link, way)).is_ok()
    }
}
