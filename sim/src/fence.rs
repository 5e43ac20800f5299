//! An autopilot's own fence: polygons as they were uploaded, left once. Pure.
//!
//! Items after MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION and _EXCLUSION: parameter 1 is how many corners their polygon has.
//! As ArduPilot has it by default, every inclusion must hold it.

use mavlink::dialects::ardupilotmega::{MISSION_ITEM_INT_DATA, MavCmd};

use crate::plans::metres;

/// Whether a place, metres east and north of home, is where the fence does not allow it.
pub fn breached(items: &[MISSION_ITEM_INT_DATA], home: [f64; 2], at: [f64; 2]) -> bool {
    let mut rest = items;
    while let Some(first) = rest.first() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "MAVLink carries numbers as f32")]
        let corners = (first.param1.max(1.0) as usize).min(rest.len());
        let (polygon, after) = rest.split_at(corners);
        let places: Vec<[f64; 2]> =
            polygon.iter().map(|item| metres(home, [f64::from(item.x) / 1e7, f64::from(item.y) / 1e7])).collect();
        let inside = winds_around(&places, at);
        match first.command {
            MavCmd::MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION if !inside => return true,
            MavCmd::MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION if inside => return true,
            _ => {}
        }
        rest = after;
    }
    false
}

/// Whether a polygon goes around a place: the angles to its corners add up to a turn.
fn winds_around(corners: &[[f64; 2]], [east, north]: [f64; 2]) -> bool {
    let angle = |[x, y]: &[f64; 2]| (y - north).atan2(x - east);
    let next = corners.iter().cycle().skip(1);
    let turned = corners.iter().zip(next).map(|(a, b)| {
        let turn = angle(b) - angle(a);
        turn - std::f64::consts::TAU * (turn / std::f64::consts::TAU).round()
    });
    turned.sum::<f64>().abs() > std::f64::consts::PI
}
