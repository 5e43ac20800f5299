//! Enough in the battery to come home, and to land.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::{Hazard, worse};
use crate::interlock::obey::Sight;
use crate::interlock::words::Demand;
use crate::vehicle::Needs;

/// A charge must be low for this long: a climb or a start pulls the voltage down for a moment.
const LOW_FOR: Duration = Duration::from_secs(3);
/// Charged again when it is above the limit by this much, percent.
const CHARGED_PCT: u8 = 5;

/// Since when the charge is low.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    below: Option<(Demand, Uptime)>,
}

impl Watch {
    /// What is wrong. `tripped` is what was wrong before; it lasts until the vehicle is down, or charged.
    pub fn hazard(&mut self, needs: &Needs, sight: &Sight, tripped: Hazard, now: Uptime) -> Hazard {
        let Some(charge) = sight.state.battery_pct else { return tripped };
        let down = !sight.state.armed && sight.on_ground(now);
        let low = match charge {
            charge if charge < needs.land_pct => Some((Demand::Land, "its battery is critical: it lands")),
            charge if charge < needs.return_pct => Some((Demand::Return, "its battery is low: it comes home")),
            _ => None,
        };
        let since = |demand| self.below.filter(|(before, _)| *before >= demand).map_or(now, |(_, since)| since);
        self.below = low.map(|(demand, _)| (demand, since(demand)));
        let found = low.filter(|_| self.below.is_some_and(|(_, since)| now.since(since) >= LOW_FOR));
        if down {
            // On the ground it is told nothing, and not let go either.
            return low.map(|(_, why)| (Demand::None, why));
        }
        let charged = charge >= needs.return_pct.saturating_add(CHARGED_PCT);
        let before = tripped.filter(|_| !charged);
        // What is critical stays so: a battery that is spared recovers for a moment.
        worse(found, before)
    }
}
