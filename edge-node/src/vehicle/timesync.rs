//! How far a vehicle's clock is from ours, and how long its link takes (<https://mavlink.io/en/services/timesync.html>). Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::codec::{Fields, Packet};
use super::message::TIMESYNC;

/// It is asked this often.
const PERIOD: Duration = Duration::from_secs(5);
/// An answer after this time is none.
const LATE: Duration = Duration::from_secs(2);

/// What was measured last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// The vehicle's time since its start, less ours since boot, microseconds; wrong by half the way at most.
    pub offset_us: i64,
    /// There and back, microseconds.
    pub round_trip_us: u32,
    /// When.
    pub at: Uptime,
}

/// The question that is open.
#[derive(Debug, Default)]
pub struct TimeSync {
    asked: Option<Uptime>,
}

/// TIMESYNC as its two times in nanoseconds: the answer's, the question's.
fn payload(answer: i64, question: i64) -> Vec<u8> {
    [answer.to_le_bytes(), question.to_le_bytes()].concat()
}

fn nanos(time: Uptime) -> i64 {
    i64::try_from(time.since(Uptime(0)).as_nanos()).unwrap_or(i64::MAX)
}

impl TimeSync {
    /// The question, when it is due.
    pub fn tick(&mut self, now: Uptime) -> Option<(u32, Vec<u8>)> {
        let due = self.asked.is_none_or(|at| now.since(at) >= PERIOD);
        due.then(|| {
            self.asked = Some(now);
            (TIMESYNC, payload(0, nanos(now)))
        })
    }

    /// The vehicle's answer, or our answer to its question.
    pub fn hear(&self, packet: &Packet, now: Uptime) -> (Option<Sync>, Option<(u32, Vec<u8>)>) {
        if packet.id != TIMESYNC {
            return (None, None);
        }
        let fields = Fields(&packet.payload);
        let long = |at| i64::from(fields.u32(at)) | i64::from(fields.i32(at + 4)) << 32;
        let (answer, question) = (long(0), long(8));
        if answer == 0 {
            return (None, Some((TIMESYNC, payload(nanos(now), question))));
        }
        // Only our last question: others' answers come past here too.
        let Some(asked) = self.asked.filter(|at| nanos(*at) == question && now.since(*at) <= LATE) else {
            return (None, None);
        };
        let there_and_back = now.since(asked);
        let half = i64::try_from(there_and_back.as_nanos() / 2).unwrap_or(0);
        let offset_us = answer.saturating_sub(question.saturating_add(half)) / 1000;
        let round_trip_us = u32::try_from(there_and_back.as_micros()).unwrap_or(u32::MAX);
        (Some(Sync { offset_us, round_trip_us, at: now }), None)
    }
}
