//! The node's side of the session with the relay: which lane to send next, what an answer means, how long to wait.
//! Pure: time is an argument, randomness too.

use std::time::Duration;

use shared::ids::Lane;
use shared::units::Uptime;

use super::pace::Pace;
use crate::journal::block::Head;

/// First wait after a failure; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest wait after failures: an outage ends within this time for the site's operators.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// With nothing to send, the journal is looked at this often.
const IDLE: Duration = Duration::from_millis(100);
/// How many batches a lane may send before the next lane gets its turn, most urgent first.
const SHARES: [u32; Lane::ALL.len()] = [16, 8, 4, 2, 1];

/// While the relay cannot be reached and the next attempt is further away than this, it is looked for this often.
const PROBE: Duration = Duration::from_secs(1);
/// Lanes that a limit does not hold up, though what they send counts.
const URGENT: [Lane; 2] = [Lane::Safety, Lane::Alert];

/// What the driver should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read the next batch of this lane behind `at`, of at most so many bytes of records, and send it.
    Send {
        /// Lane.
        lane: Lane,
        /// Where the relay is.
        at: Head,
        /// Bytes.
        bytes: usize,
    },
    /// See whether the relay can be reached, with as little as a connection.
    Probe,
    /// Wait.
    Wait(Duration),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The relay has everything up to here.
    Acked {
        /// Lane.
        lane: Lane,
        /// Where the relay is.
        at: Head,
    },
    /// The lane has nothing after its cursor.
    Empty(Lane),
    /// The relay needs the lane from behind here on.
    Rewind {
        /// Lane.
        lane: Lane,
        /// Where the relay is.
        at: Head,
    },
    /// The relay refuses this lane (a fork), or its page cannot be read: an operator must look, the other lanes go on.
    Refused(Lane),
    /// No answer, or the relay cannot store now.
    Failed {
        /// What the relay asked for in Retry-After.
        retry_after: Option<Duration>,
        /// A random number from 0 to 1, for jitter.
        jitter: f64,
        /// Whether the relay answered at all.
        reached: bool,
    },
    /// Whether a probe found the relay: then the wait is over, if one before it did not. A relay that listens all the time
    /// and does not answer is not helped by haste.
    Probed(bool),
    /// The relay answered something else than a batch.
    Reached,
}

#[derive(Debug, Clone, Copy)]
struct LaneState {
    at: Head,
    quiet_until: Uptime,
    share_left: u32,
    /// Where the relay asked to begin again, and nothing was taken since.
    rewound: Option<Head>,
}

/// The session.
#[derive(Debug, Clone)]
pub struct Session {
    lanes: [LaneState; Lane::ALL.len()],
    failures: u32,
    wait_until: Uptime,
    /// When to look for the relay next; `None` while there is no reason to.
    probe_at: Option<Uptime>,
    /// Whether a look in this wait found nobody.
    absent: bool,
    /// Which lanes may use the link as it is now.
    allowed: [bool; Lane::ALL.len()],
    pace: Pace,
}

impl Session {
    /// A session from the journal's outbox cursors.
    pub fn new(cursors: [Head; Lane::ALL.len()]) -> Self {
        let lane = |(at, share_left)| LaneState { at, quiet_until: Uptime(0), share_left, rewound: None };
        let mut lanes = cursors.map(|at| lane((at, 0)));
        for (state, share) in lanes.iter_mut().zip(SHARES) {
            state.share_left = share;
        }
        let (allowed, pace) = ([true; Lane::ALL.len()], Pace::default());
        Self { lanes, failures: 0, wait_until: Uptime(0), probe_at: None, absent: false, allowed, pace }
    }

    /// Whether the last exchange failed.
    pub fn failing(&self) -> bool {
        self.failures > 0
    }

    /// Says which lanes may use the link from now on, and how many bytes per second it may take.
    pub fn use_link(&mut self, lanes: &[Lane], bytes_per_second: Option<u64>) {
        self.allowed = Lane::ALL.map(|lane| lanes.contains(&lane));
        self.pace.limit(bytes_per_second);
    }

    /// A body was sent.
    pub fn spent(&mut self, body: usize, now: Uptime) {
        self.pace.spent(body, now);
    }

    /// A batch was acknowledged after this time.
    pub fn carried(&mut self, took: Duration) {
        self.pace.carried(took);
    }

    /// What to do now.
    pub fn next(&mut self, now: Uptime) -> Step {
        if now < self.wait_until {
            return match self.probe_at {
                Some(at) if at <= now => Step::Probe,
                Some(at) => Step::Wait(self.wait_until.since(now).min(at.since(now))),
                None => Step::Wait(self.wait_until.since(now)),
            };
        }
        let (free, bytes) = (now >= self.pace.free_at(), self.pace.batch_bytes());
        // Two rounds: when every lane with something to send has used its share, shares begin anew.
        for _ in 0..2 {
            for ((lane, state), allowed) in Lane::ALL.into_iter().zip(&mut self.lanes).zip(self.allowed) {
                let allowed = allowed && (free || URGENT.contains(&lane));
                if allowed && now >= state.quiet_until && state.share_left > 0 {
                    state.share_left -= 1;
                    return Step::Send { lane, at: state.at, bytes };
                }
            }
            for (state, share) in self.lanes.iter_mut().zip(SHARES) {
                state.share_left = share;
            }
        }
        Step::Wait(IDLE)
    }

    /// Takes what happened.
    pub fn happened(&mut self, outcome: Outcome, now: Uptime) {
        let lane_state = |lane: Lane| lane as usize;
        match outcome {
            Outcome::Acked { lane, at } => {
                self.failures = 0;
                if let Some(state) = self.lanes.get_mut(lane_state(lane)) {
                    (state.at, state.rewound) = (at, None);
                }
            }
            Outcome::Rewind { lane, at } => {
                self.failures = 0;
                if let Some(state) = self.lanes.get_mut(lane_state(lane)) {
                    // Asked for the same again with nothing taken in between: not as fast as the link allows.
                    if state.rewound.replace(at) == Some(at) {
                        state.quiet_until = now.plus(BACKOFF_MAX);
                    }
                    state.at = at;
                }
            }
            Outcome::Empty(lane) => self.quiet(lane, now.plus(IDLE)),
            Outcome::Refused(lane) => {
                self.failures = 0;
                self.quiet(lane, now.plus(BACKOFF_MAX));
            }
            Outcome::Probed(true) if self.absent => (self.wait_until, self.probe_at) = (now, None),
            Outcome::Probed(true) => self.probe_at = Some(now.plus(PROBE)),
            Outcome::Probed(false) => (self.probe_at, self.absent) = (Some(now.plus(PROBE)), true),
            Outcome::Reached => self.failures = 0,
            Outcome::Failed { retry_after, jitter, reached } => {
                self.failures = self.failures.saturating_add(1);
                let doubled = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16).saturating_sub(1));
                let wait = doubled.min(BACKOFF_MAX).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
                self.wait_until = now.plus(retry_after.map_or(wait, |asked| asked.min(BACKOFF_MAX * 6).max(wait)));
                (self.probe_at, self.absent) = ((!reached).then(|| now.plus(PROBE)), false);
                if !reached {
                    self.pace.shrink();
                }
            }
        }
    }

    fn quiet(&mut self, lane: Lane, until: Uptime) {
        if let Some(state) = self.lanes.get_mut(lane as usize) {
            state.quiet_until = until;
        }
    }
}
