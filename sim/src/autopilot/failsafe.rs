//! What an autopilot does by itself: failsafes of battery, position, ground station and fence; and its pilot.

use super::{Autopilot, Told, mode};
use crate::fence;
use crate::scenario::Class;

/// After the satellites are lost a copter lands, seconds (INTERLOCKS).
const LANDS_S: f64 = 8.1;
/// In the trace: its ground-station failsafe acted; parameters are seconds without a heartbeat, and the mode it chose.
const STATION_LOST: &str = "FAILSAFE_GCS";

impl Autopilot {
    /// The ground-station failsafe: heartbeats of MAV_GCS_SYSID, whatever component sends them, missed for FS_GCS_TIMEOUT.
    pub(super) fn miss_station(&mut self) -> Option<Told> {
        let value = |name: &str| self.parameters.get(name).copied().unwrap_or(0.0);
        let missed = self.time_s - self.station?;
        let late = value("FS_GCS_ENABLE") != 0.0 && missed > f64::from(value("FS_GCS_TIMEOUT"));
        // FS_OPTIONS bit 4, set by default: where a pilot could steer, BRAKE among them, nothing happens.
        let goes = [mode::COPTER_AUTO, mode::COPTER_RTL, mode::COPTER_LAND].contains(&self.mode);
        let left = self.config.class == Class::Copter && value("FS_OPTIONS") == 16.0 && !goes;
        if !late || left || !self.armed || std::mem::replace(&mut self.station_lost, true) {
            return None;
        }
        self.mode = match self.config.class {
            Class::Rover => mode::ROVER_HOLD,
            Class::Copter => mode::COPTER_LAND,
        };
        self.stopping = true;
        #[expect(clippy::cast_possible_truncation, reason = "as MAVLink's parameters")]
        Some(Told { command: STATION_LOST.into(), parameters: [missed as f32, self.mode as f32], result: 0 })
    }

    /// What nobody ordered: the battery failsafe, and the pilot.
    pub(super) fn act_alone(&mut self) {
        let low = self.config.land_below_pct.is_some_and(|limit| self.battery < limit);
        if low && self.armed && !self.failed_safe && self.config.class == Class::Copter {
            (self.failed_safe, self.mode) = (true, mode::COPTER_LAND);
        }
        let fenced = self.parameters.get("FENCE_ENABLE").is_some_and(|enabled| *enabled != 0.0);
        let outside = fenced && fence::breached(self.plans.fence(), self.config.home, self.body.place().0);
        // FENCE_ACTION 1: a copter returns, a rover holds; once for each time that it goes out.
        if outside && !std::mem::replace(&mut self.outside, outside) && self.armed {
            self.mode = match self.config.class {
                Class::Rover => mode::ROVER_HOLD,
                Class::Copter => mode::COPTER_RTL,
            };
        }
        self.outside = outside;
        let lands = self.without_gps_s() > LANDS_S && self.config.class == Class::Copter && self.armed;
        if lands && !std::mem::replace(&mut self.lost_acted, true) {
            self.mode = mode::COPTER_LAND;
        }
        if let Some(pilot) = self.config.pilot.filter(|pilot| !self.switched && self.time_s >= pilot.at_s) {
            (self.switched, self.mode) = (true, pilot.mode);
        }
    }
}
