//! The stop table of a vehicle: what its brake test measured. `v²/2a` alone underestimates at low speed, so distances are
//! kept as measured.

use serde::Deserialize;

/// Allowed above the measured profile: a quarter.
const MORE: f32 = 1.25;
/// And this much whatever the profile says, m/s: noise of the speed.
const NOISE_MPS: f32 = 0.5;

/// One measured stop.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Speed when it was told to hold, m/s.
    pub speed_mps: f32,
    /// Metres until it stood.
    pub distance_m: f32,
    /// Seconds until it stood.
    pub time_s: f32,
}

/// Where a vehicle was while it stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Seconds.
    pub at_s: f64,
    /// Metres east and north.
    pub place_m: (f64, f64),
    /// Its speed, m/s.
    pub speed_mps: f64,
}

/// A stop as samples show it: from the moment it was told, between two samples, until the first of a second of standing,
/// and the farthest it came.
/// `None`: it does not stand yet, or was told outside the samples. `standing_mps`: slower than this it stands.
pub fn measure(samples: &[Sample], told_s: f64, standing_mps: f64) -> Option<Stop> {
    let after = samples.iter().position(|sample| sample.at_s >= told_s)?;
    let (b, a) = (samples.get(after)?, samples.get(after.checked_sub(1)?)?);
    let part = if b.at_s > a.at_s { (told_s - a.at_s) / (b.at_s - a.at_s) } else { 0.0 };
    let between = |a: f64, b: f64| a + (b - a) * part;
    let from = (between(a.place_m.0, b.place_m.0), between(a.place_m.1, b.place_m.1));
    let rest = samples.get(after..)?;
    let moving = rest.iter().rposition(|sample| sample.speed_mps >= standing_mps)?;
    let (stood, last) = (rest.get(moving + 1)?, rest.last()?);
    // The farthest that it came: what drifts back was there.
    let away = |sample: &Sample| (sample.place_m.0 - from.0).hypot(sample.place_m.1 - from.1);
    let distance = rest.iter().map(away).fold(0.0, f64::max);
    #[expect(clippy::cast_possible_truncation, reason = "metres and seconds")]
    let stop = Stop {
        // What it said last before: the next may be slower already.
        speed_mps: a.speed_mps as f32,
        distance_m: distance as f32,
        time_s: (stood.at_s - told_s) as f32,
    };
    (last.at_s - stood.at_s >= 1.0).then_some(stop)
}

/// Measured stops, slowest first.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "Vec<Stop>")]
pub struct StopTable(Vec<Stop>);

impl TryFrom<Vec<Stop>> for StopTable {
    type Error = String;

    fn try_from(mut stops: Vec<Stop>) -> Result<Self, String> {
        let within = |value: f32, most: f32| value > 0.0 && value <= most;
        let odd = stops.iter().find(|stop| {
            !(within(stop.speed_mps, 60.0) && within(stop.distance_m, 1000.0) && within(stop.time_s, 120.0))
        });
        if let Some(stop) = odd {
            return Err(format!(
                "expected speeds up to 60 m/s, distances up to 1000 m and times up to 120 s, found {stop:?}"
            ));
        }
        stops.sort_by(|a, b| a.speed_mps.total_cmp(&b.speed_mps));
        let pairs = stops.iter().zip(stops.iter().skip(1));
        if let Some((a, b)) = pairs.clone().find(|(a, b)| a.speed_mps >= b.speed_mps) {
            return Err(format!("expected each speed once, found {} and {} m/s", a.speed_mps, b.speed_mps));
        }
        match pairs.clone().find(|(a, b)| a.distance_m > b.distance_m || a.time_s > b.time_s) {
            Some((a, b)) => Err(format!(
                "expected a faster vehicle to need as much or more, found {} m/s: {} m, {} s and {} m/s: {} m, {} s",
                a.speed_mps, a.distance_m, a.time_s, b.speed_mps, b.distance_m, b.time_s
            )),
            None => Ok(Self(stops)),
        }
    }
}

impl StopTable {
    /// Whether nothing was measured.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fastest stop that was measured, m/s.
    pub fn fastest_mps(&self) -> f32 {
        self.0.last().map_or(0.0, |stop| stop.speed_mps)
    }

    /// Metres and seconds until a vehicle of this speed stands: between two stops linear; beyond the fastest the distance
    /// grows with the square of the speed; without a table two seconds and 1 m/s² (a guess on the safe side, for vehicles
    /// that should not be moving).
    pub fn needs(&self, speed_mps: f32) -> (f32, f32) {
        let speed = speed_mps.max(0.0);
        let Some(fastest) = self.0.last() else { return (2.0 * speed + speed * speed / 2.0, 2.0 + speed) };
        if speed > fastest.speed_mps {
            let times = speed / fastest.speed_mps;
            return (fastest.distance_m * times * times, fastest.time_s * times);
        }
        let standing = Stop { speed_mps: 0.0, distance_m: 0.0, time_s: 0.0 };
        let below = self.0.iter().rev().find(|stop| stop.speed_mps <= speed).copied().unwrap_or(standing);
        let above = self.0.iter().find(|stop| stop.speed_mps >= speed).copied().unwrap_or(*fastest);
        let part = match above.speed_mps - below.speed_mps {
            width if width > 0.0 => (speed - below.speed_mps) / width,
            _ => 0.0,
        };
        let between = |a: f32, b: f32| a + (b - a) * part;
        (between(below.distance_m, above.distance_m), between(below.time_s, above.time_s))
    }

    /// The most a vehicle that was told to hold at `from_mps` may still go, `after_s` seconds later, m/s: the trapezoid of
    /// the measured distance and time, a quarter more, and noise.
    pub fn profile_mps(&self, from_mps: f32, after_s: f32) -> f32 {
        let (distance, time) = self.needs(from_mps);
        let steady = (2.0 * distance / from_mps.max(0.1) - time).clamp(0.0, time);
        let slowing = (time - steady).max(0.1);
        let part = ((after_s / MORE - steady) / slowing).clamp(0.0, 1.0);
        from_mps.max(0.0) * (1.0 - part) * MORE + NOISE_MPS
    }
}
