//! Whether what somebody asks of a vehicle may be done: permitted, or denied with every reason at once. Pure.
//!
//! Hold, return, land and disarm on the ground are never denied for lease, link, readiness, node or authority: any person of
//! the site may give them. What moves a vehicle needs whoever answers for it, and no rule tripped.

use std::time::Duration;

use shared::units::Uptime;

use super::rules::envelope::Envelope;
use super::rules::lease::PATROL_MAX;
use super::transaction::Steps;
use super::vehicle::Vehicle;
use super::words::{Demand, Policy, Role, Rule, RuleView, Verb};
use crate::ground::Point;
use crate::vehicle::class::Meaning;
use crate::vehicle::command::{Height, Order};
use crate::vehicle::plan::{Plans, Verdict};
use crate::vehicle::selftest::unwell;
use crate::vehicle::{Class, VehicleConfig};

/// A trial of its brakes lasts as long as this.
const TRIAL: Duration = Duration::from_secs(900);
/// A charge older than this is none.
const CHARGE_FRESH: Duration = Duration::from_secs(10);

/// Who asks for what, when.
#[derive(Debug, Clone)]
pub struct Asking<'a> {
    /// What the site allows.
    pub policy: &'a Policy,
    /// Index of the vehicle.
    pub index: usize,
    /// Its configuration.
    pub config: &'a VehicleConfig,
    /// Every rule that concerns the vehicle, where it shall move.
    pub rules: &'a [RuleView],
    /// Its zones whose camera shows nothing fresh.
    pub stale: &'a [&'a str],
    /// Who.
    pub by: &'a str,
    /// Where it shall go leads away from what keep-out and fence are tripped for.
    pub retreat: Option<Point>,
    /// Now.
    pub now: Uptime,
}

/// What comes of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Every reason against it; none: it is done.
    pub reasons: Vec<String>,
    /// What is written to the vehicle, in turn.
    pub steps: Option<Steps>,
    /// How its lease has changed, and for how long.
    pub lease: Option<(&'static str, Option<Duration>)>,
}

impl Decision {
    fn denied(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()], ..Self::default() }
    }
}

/// Decides, and changes what is the vehicle's own: its lease, and what it was asked for.
pub fn decide(verb: Verb, asking: &Asking, vehicle: &mut Vehicle) -> Decision {
    let stood = vehicle.asked();
    let decision = judge(verb, asking, vehicle);
    match decision.steps {
        Some(steps) if vehicle.too_soon(&steps, asking.now) => {
            // What was not taken takes nothing back.
            vehicle.ask(stood);
            Decision::denied("it was asked a moment ago")
        }
        _ => decision,
    }
}

fn judge(verb: Verb, asking: &Asking, vehicle: &mut Vehicle) -> Decision {
    let Some(role) = asking.policy.role(asking.by) else {
        return Decision::denied(format!("authority: {:?} is nobody of this site", asking.by));
    };
    match verb {
        Verb::Hold => demand(Demand::Hold, vehicle),
        Verb::Return => demand(Demand::Return, vehicle),
        Verb::Land => demand(Demand::Land, vehicle),
        Verb::Disarm => disarm(asking, vehicle),
        // What was asked of it since the siren comes first.
        Verb::GoOn if !vehicle.resume.asked() || vehicle.asked() != Demand::None => {
            Decision::denied("something else came since its siren")
        }
        Verb::GoOn | Verb::Resume | Verb::Arm | Verb::TakeOff(_) | Verb::GoTo(_) | Verb::Orbit(..) | Verb::Speed(_) => {
            motion(verb, asking, vehicle)
        }
        Verb::Plan => plan(asking, vehicle),
        Verb::Trial => trial(role, asking, vehicle),
        Verb::Point { pitch_cdeg, yaw_cdeg } => aside(Order::Point { pitch_cdeg, yaw_cdeg }, asking, vehicle),
        Verb::Output(number, on) => match asking.config.outputs.values().nth(usize::from(number)) {
            Some(output) => Decision { steps: Some([Some(output.order(on)), None, None]), ..Decision::default() },
            None => Decision::denied("envelope: it has no such output"),
        },
        Verb::Ready => Decision { reasons: against(Verb::Resume, asking, vehicle), ..Decision::default() },
        Verb::Clear if role < Role::Supervisor => Decision::denied("authority: only a supervisor clears"),
        Verb::Clear if vehicle.autonomy.is_clear() => Decision::denied("there is nothing to clear"),
        Verb::Clear => {
            vehicle.autonomy.clear();
            Decision::default()
        }
        Verb::Lease(_) | Verb::Renew(_) | Verb::Leave(_) | Verb::Patrol(_) | Verb::EndPatrol => {
            answer_for(verb, role, asking, vehicle)
        }
    }
}

fn steered(vehicle: &Vehicle) -> Option<String> {
    vehicle.steered().then(|| "pilot: its pilot has it".to_owned())
}

/// It stands until somebody sends it on, comes home, or lands. Never told less than what its rules demand.
fn demand(demand: Demand, vehicle: &mut Vehicle) -> Decision {
    let reasons: Vec<String> = steered(vehicle).into_iter().collect();
    if reasons.is_empty() {
        vehicle.ask(demand);
    }
    Decision { reasons, ..Decision::default() }
}

fn disarm(asking: &Asking, vehicle: &mut Vehicle) -> Decision {
    let flies = !vehicle.sight(asking.config).on_ground(asking.now);
    let flies = flies.then(|| "it is not known to stand on the ground".to_owned());
    let reasons: Vec<String> = steered(vehicle).into_iter().chain(flies).collect();
    if reasons.is_empty() {
        // Disarming leaves AUTO set: armed again it would drive off.
        vehicle.ask(Demand::Hold);
    }
    Decision { steps: reasons.is_empty().then_some([Some(Order::Disarm), None, None]), reasons, ..Decision::default() }
}

/// Why this person may not move it.
fn authority(asking: &Asking, vehicle: &Vehicle) -> Option<String> {
    match (vehicle.lease.holder(asking.now), vehicle.lease.patrol(asking.now)) {
        (Some(holder), _) if holder != asking.by => Some(format!("authority: {holder} holds the lease")),
        (Some(_), _) | (None, Some(_)) => None,
        (None, None) => Some("lease: neither a live lease nor an authorised patrol".into()),
    }
}

/// Every reason against motion.
fn against(verb: Verb, asking: &Asking, vehicle: &Vehicle) -> Vec<String> {
    let better =
        |rule: &str| asking.retreat.is_some() && [Rule::KeepOut, Rule::Fence].iter().any(|own| own.as_str() == rule);
    let tripped = asking.rules.iter().filter(|rule| rule.rule != Rule::Asked.as_str() && !better(rule.rule));
    let tripped = tripped.filter_map(|rule| rule.reason.as_ref().map(|why| format!("{}: {why}", rule.rule)));
    let untried = asking.config.brake.is_empty() && !vehicle.on_trial(asking.now);
    let table = untried.then(|| "readiness: no brake test, so no way to stop is known".to_owned());
    let old = |at: Uptime| asking.now.since(at) > CHARGE_FRESH;
    let charge = vehicle.state.battery_pct.is_none() || vehicle.state.battery_at.is_none_or(old);
    let charge = charge.then(|| "readiness: its battery does not tell its charge".to_owned());
    let unwell = unwell(vehicle.state.unwell).map(|what| format!("readiness: its self-test has not passed: {what}"));
    let cameras = asking.stale.iter().map(|zone| format!("readiness: no fresh pictures of zone {zone}"));
    let cameras = cameras.filter(|_| !asking.policy.off.contains(&Rule::KeepOut));
    let audit = vehicle.state.audit.reasons(asking.config.class, asking.policy.supervisor_sysid);
    let audit = audit.filter(|_| !asking.policy.off.contains(&Rule::Audit)).chain(plans(verb, asking, vehicle));
    authority(asking, vehicle)
        .into_iter()
        .chain(table)
        .chain(charge)
        .chain(unwell)
        .chain(audit)
        .chain(tripped)
        .chain(cameras)
        .collect()
}

/// What begins motion: nobody and no rule is against it, and it leads nowhere that is not allowed.
fn motion(verb: Verb, asking: &Asking, vehicle: &mut Vehicle) -> Decision {
    let mut reasons = against(verb, asking, vehicle);
    let Asking { policy, index, config, now, .. } = *asking;
    let (sight, origin) = (vehicle.sight(config), policy.origin.as_ref());
    let trial = vehicle.on_trial(now);
    let back = asking.retreat.is_some() && vehicle.trips(Rule::Fence);
    let envelope = Envelope { index, config, sight, fences: &policy.fences, origin, trial, back, now };
    reasons.extend(envelope.reasons(verb));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "up to 60 m/s")]
    let fastest = Some(Order::Speed(match trial {
        _ if asking.retreat.is_some() => config.slow_cmps(),
        true => config.slow_cmps(),
        false => (envelope.fastest_mps() * 100.0) as u16,
    }));
    if !reasons.is_empty() {
        return Decision { reasons, ..Decision::default() };
    }
    let state = vehicle.state;
    // Where home is above the sea, as the vehicle tells both heights.
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and a float of metres is wrong by less")]
    let height = |height: Height| Height { home_cm: ((state.alt_m - state.relative_alt_m) * 100.0) as i32, ..height };
    let guided = Some(Order::Mode(config.class.guided()));
    let steps = match verb {
        // It is armed standing: what drives in HOLD, a copter where it takes off from.
        Verb::Arm if config.class == Class::Copter => [guided, Some(Order::Arm), None],
        Verb::Arm => [Some(Order::Mode(config.class.hold())), Some(Order::Arm), None],
        Verb::TakeOff(above) if config.class == Class::Px4Copter => [Some(Order::TakeOff(height(above))), None, None],
        Verb::TakeOff(above) => [guided, Some(Order::TakeOff(height(above))), None],
        Verb::GoTo(mut target) => {
            target.height = height(target.height);
            // Each new place begins with the autopilot's own speed.
            [guided, Some(Order::GoTo(target)), fastest]
        }
        Verb::Orbit(mut target, circle) => {
            target.height = height(target.height);
            [guided, Some(Order::Orbit(target, circle)), None]
        }
        Verb::Speed(cmps) => [Some(Order::Speed(cmps)), None, None],
        _ => [Some(Order::Mode(config.class.auto())), None, None],
    };
    if !matches!(verb, Verb::Speed(_)) {
        vehicle.ask(Demand::None);
    }
    Decision { steps: Some(steps), ..Decision::default() }
}

/// A mission is not changed under a vehicle that is on it, nor by anybody but who answers for it.
fn plan(asking: &Asking, vehicle: &Vehicle) -> Decision {
    let state = &vehicle.state;
    let driven = state.armed && asking.config.class.meaning(state.mode) == Meaning::Auto;
    let driven = driven.then(|| "it is on its mission: hold it first".to_owned());
    let reasons = steered(vehicle).into_iter().chain(authority(asking, vehicle)).chain(driven).collect();
    Decision { reasons, ..Decision::default() }
}

/// A supervisor who holds its lease may let it move for a while to see how it stops.
fn trial(role: Role, asking: &Asking, vehicle: &mut Vehicle) -> Decision {
    let held = vehicle.lease.holder(asking.now) == Some(asking.by);
    let reasons: Vec<String> = [
        (role < Role::Supervisor).then_some("authority: only a supervisor tries how it stops"),
        (!held).then_some("lease: whoever tries it holds its lease"),
        asking.config.class.has_wing().then_some("envelope: a plane does not stop"),
    ]
    .into_iter()
    .flatten()
    .map(str::to_owned)
    .collect();
    if !reasons.is_empty() {
        return Decision { reasons, ..Decision::default() };
    }
    vehicle.try_until(asking.now.plus(TRIAL), asking.now);
    Decision { lease: Some(("brake-test", Some(TRIAL))), ..Decision::default() }
}

/// Its own fence must be the site's, and its mission one that may be driven.
fn plans(verb: Verb, asking: &Asking, vehicle: &Vehicle) -> Vec<String> {
    let Plans { fence, mission, .. } = vehicle.state.plans;
    let fenced = asking.policy.fences.iter().any(|fence| fence.vehicles.contains(&asking.index));
    let fence = (fenced && fence != Verdict::Good).then(|| format!("readiness: its own fence {fence}"));
    // Without a fence there is nothing to hold an unread mission against.
    let bad = mission != Verdict::Good && (fenced || mission != Verdict::Unknown);
    let mission =
        (matches!(verb, Verb::Resume | Verb::GoOn) && bad).then(|| format!("readiness: its mission {mission}"));
    fence.into_iter().chain(mission).collect()
}

/// A camera looks where whoever has the vehicle wants it to; without anybody, any person of the site.
fn aside(order: Order, asking: &Asking, vehicle: &Vehicle) -> Decision {
    match vehicle.lease.holder(asking.now) {
        Some(holder) if holder != asking.by => Decision::denied(format!("authority: {holder} holds the lease")),
        _ => Decision { steps: Some([Some(order), None, None]), ..Decision::default() },
    }
}

fn answer_for(verb: Verb, role: Role, asking: &Asking, vehicle: &mut Vehicle) -> Decision {
    let (now, by) = (asking.now, asking.by.to_owned());
    let other = vehicle.lease.holder(now).filter(|holder| *holder != by).map(ToOwned::to_owned);
    let changed = |change, lasts| Decision { lease: Some((change, lasts)), ..Decision::default() };
    let gone = || Decision::denied("lease: it was given to another, or has ended");
    match (verb, other) {
        (Verb::Lease(_), Some(other)) if role < Role::Supervisor => {
            Decision::denied(format!("authority: {other} holds the lease"))
        }
        (Verb::Lease(id), _) => {
            vehicle.lease.give(id, by, now);
            changed("leased", None)
        }
        (Verb::Renew(id) | Verb::Leave(id), _) if !vehicle.lease.is(id, asking.by) => gone(),
        (Verb::Renew(_), _) => {
            vehicle.lease.renew(now);
            Decision::default()
        }
        (Verb::Leave(_), _) if vehicle.lease.patrol(now).is_none() && flies_or_moves(asking, vehicle) => {
            Decision::denied(LEFT)
        }
        (Verb::Leave(_), _) => {
            vehicle.lease.end();
            changed("left", None)
        }
        (Verb::Patrol(_), Some(other)) => Decision::denied(format!("authority: {other} holds the lease")),
        (Verb::Patrol(lasts), None) if lasts > PATROL_MAX || lasts.is_zero() => {
            Decision::denied("a patrol lasts up to 12 hours")
        }
        (Verb::Patrol(lasts), None) if shortens(lasts, asking, vehicle) => Decision::denied(LEFT),
        (Verb::Patrol(lasts), None) => {
            vehicle.lease.authorise(by, now.plus(lasts));
            changed("authorised", Some(lasts))
        }
        (Verb::EndPatrol, _) if shortens(Duration::ZERO, asking, vehicle) => Decision::denied(LEFT),
        (Verb::EndPatrol, _) if vehicle.lease.end_patrol() => changed("ended", None),
        _ => Decision::denied("there is no patrol to end"),
    }
}

const LEFT: &str = "lease: it flies or moves: land it, hold it, or hand it over first";

/// Whether a patrol that lasts so long from now would leave it alone earlier than was authorised.
fn shortens(lasts: Duration, asking: &Asking, vehicle: &Vehicle) -> bool {
    let alone = vehicle.lease.holder(asking.now).is_none();
    alone && vehicle.lease.patrol_lasts_beyond(asking.now.plus(lasts)) && flies_or_moves(asking, vehicle)
}

fn flies_or_moves(asking: &Asking, vehicle: &Vehicle) -> bool {
    let sight = vehicle.sight(asking.config);
    let flies = sight.state.armed && !sight.on_ground(asking.now);
    flies || super::rules::lease::moving(&sight, asking.now)
}
