//! What the interlock enforces and what vehicles' own fences and missions must be, made of the configuration.

use shared::ids::Name;

use crate::config::Config;
use crate::detect::zone::ZoneConfig;
use crate::ground::Origin;
use crate::ground::calibration::Calibration;
use crate::ground::polygon::Polygon;
use crate::interlock::machine::{KeepOut, Policy};
use crate::interlock::output::Output;
use crate::interlock::pin::Pin;
use crate::interlock::rules::fence::{Fence, Side};
use crate::interlock::rules::keep_out::Ground;
use crate::interlock::rules::mission::MissionRule;
use crate::interlock::rules::separation::Apart;
use crate::interlock::rules::weather::Weather;
use crate::interlock::{OutputConfig, ResumeBy};
use crate::sensor::camera::CameraConfig;
use crate::vehicle::VehicleConfig;
use crate::vehicle::errands::Wanted;
use crate::vehicle::message::ABOVE_SEA;
use crate::vehicle::plan::{EXCLUSION, INCLUSION, Item, e7};

/// The policy of a configuration that was checked.
pub fn policy(config: &Config) -> Policy {
    let zone_index = |name| config.zones.iter().position(|zone| &zone.name == name);
    let vehicle_index = |name| config.vehicles.iter().position(|vehicle| &vehicle.name == name);
    let keep_out = config.keep_out.iter().filter_map(|rule| {
        let index = zone_index(&rule.zone)?;
        let zone = config.zones.get(index)?;
        let camera = config.cameras.iter().find(|camera| camera.name == zone.camera)?;
        Some(KeepOut {
            zone: rule.zone.to_string(),
            zone_index: index,
            vehicles: rule.vehicles.iter().filter_map(vehicle_index).collect(),
            clear_after: rule.clear_after,
            stale_after: camera.stale_after,
            resumes: rule.resume == ResumeBy::Automatic,
            ground: ground(config, camera, zone),
        })
    });
    let origin = config.origin().map(Origin::new);
    let fences = config.fences.iter().filter_map(|fence| {
        let all = fence.vehicles.is_empty();
        Some(Fence {
            name: fence.name.to_string(),
            side: fence.side,
            polygon: Polygon::new(&fence.polygon_deg, &origin?).ok()?,
            vehicles: (0..config.vehicles.len())
                .filter(|index| all || fence.vehicles.iter().filter_map(vehicle_index).any(|own| own == *index))
                .collect(),
            ceiling_m: fence.ceiling_m,
        })
    });
    let weather = config.weather.iter().map(|rule| Weather {
        sensor: rule.sensor.clone(),
        most: rule.most,
        silent_after: rule.silent_after,
        vehicles: (0..config.vehicles.len())
            .filter(|index| {
                rule.vehicles.is_empty() || rule.vehicles.iter().filter_map(vehicle_index).any(|own| own == *index)
            })
            .collect(),
    });
    Policy {
        weather: weather.collect(),
        vehicles: config.vehicles.clone(),
        keep_out: keep_out.collect(),
        people: config.people.iter().map(|person| (person.name.clone(), person.role)).collect(),
        two_person: config.interlock.two_person,
        supervisor_sysid: config.supervisor_sysid,
        origin,
        fences: fences.collect(),
        apart: config.interlock.separation_m.map(|metres| Apart { metres }),
        line: config.interlock.line.is_some(),
        outputs: config.outputs.iter().map(|output| output_line(config, output)).collect(),
        off: config.interlock.off.clone(),
    }
}

fn output_line(config: &Config, output: &OutputConfig) -> Output {
    let index = |name: &Name| config.vehicles.iter().position(|vehicle| &vehicle.name == name);
    let all = output.vehicles.is_empty();
    let named = output.vehicles.iter().filter_map(index).collect();
    Output {
        name: output.name.to_string(),
        vehicles: if all { (0..config.vehicles.len()).collect() } else { named },
        energised_while: output.energised_while.clone(),
        relay: match &output.pin {
            Pin::Relay { vehicle, number } => index(vehicle).map(|vehicle| (vehicle, *number)),
            Pin::Serial { .. } | Pin::Gpio(_) => None,
        },
    }
}

/// Where the picture of a camera lies on the ground, if that was marked; the configuration was checked.
pub fn calibration(config: &Config, camera: &CameraConfig) -> Option<Calibration> {
    let origin = Origin::new(config.origin()?);
    if camera.ground.is_empty() { None } else { Calibration::new(&camera.ground, &origin).ok() }
}

fn ground(config: &Config, camera: &CameraConfig, zone: &ZoneConfig) -> Option<Ground> {
    let calibration = calibration(config, camera)?;
    // A zone may reach beyond the marks, to where a few pixels are metres.
    let corners: Vec<[f64; 2]> = zone.polygon.0.iter().map(|[x, y]| [f64::from(*x), f64::from(*y)]).collect();
    let error_m = calibration.error_m + calibration.blur(&corners);
    Some(Ground { zone: zone.on_ground(&calibration)?, error_m }).filter(|ground| ground.error_m <= ERROR_MAX_M)
}

/// A zone whose places may be wrong by more is not used: anybody in it holds every vehicle, metres.
const ERROR_MAX_M: f64 = 25.0;

/// What each vehicle's own plans must be, in the order of the configuration.
pub fn plans(config: &Config, policy: &Policy) -> Vec<Wanted> {
    let of = |(index, vehicle): (usize, &VehicleConfig)| {
        let rule = MissionRule::new(index, vehicle, policy);
        Wanted { fence: fence(config, vehicle), check: Box::new(move |items| rule.check(items)) }
    };
    config.vehicles.iter().enumerate().map(of).collect()
}

/// The site's fences for a vehicle as the items of its own: the same corners in the same order.
fn fence(config: &Config, vehicle: &VehicleConfig) -> Vec<Item> {
    let own = config.fences.iter().filter(|fence| fence.vehicles.is_empty() || fence.vehicles.contains(&vehicle.name));
    let items = own.flat_map(|fence| {
        let command = if fence.side == Side::Inclusion { INCLUSION } else { EXCLUSION };
        // A polygon has at most 84 corners.
        let corners = u8::try_from(fence.polygon_deg.len()).map_or(0.0, f32::from);
        fence.polygon_deg.iter().map(move |place| Item {
            command,
            frame: ABOVE_SEA,
            params: [corners, 0.0, 0.0, 0.0],
            lat_e7: e7(place.lat_deg),
            lon_e7: e7(place.lon_deg),
            height_m: 0.0,
        })
    });
    items.collect()
}
