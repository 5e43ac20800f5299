//! What one stage says in the words of another: neither knows the other's.

use tokio::sync::mpsc;

use crate::alert::Signal;
use crate::config::Config;
use crate::detect::worker::News;
use crate::detect::zone::Turn;
use crate::interlock::handle::Interlock;
use crate::interlock::machine::{Input, Source, Verb};
use crate::interlock::rules::estop::Scope;
use crate::vehicle::gate::Wish;
use crate::vehicle::hub::Safety;

/// Hands what the vehicles' thread hears to the interlock.
pub fn safety(interlock: &Interlock) -> Safety {
    let (reports, ways, presses, requests) =
        (interlock.clone(), interlock.clone(), interlock.clone(), interlock.clone());
    Safety {
        report: Box::new(move |report| reports.tell(Input::Vehicle(report))),
        way: Box::new(move |vehicle, link, way| ways.way(vehicle, link, way)),
        press: Box::new(move |vehicle, by| {
            presses.press(Source::Mavlink, by, vehicle.map_or(Scope::Site, Scope::Vehicle))
        }),
        ask: Box::new(move |id, vehicle, wish, by| {
            let verb = match wish {
                Wish::Hold => Verb::Hold,
                Wish::Return => Verb::Return,
                Wish::Land => Verb::Land,
                Wish::Disarm => Verb::Disarm,
                Wish::Resume => Verb::Resume,
            };
            (verb.as_str(), requests.request(Input::Request { id, vehicle, verb, by }, id))
        }),
    }
}

/// Hands the detector's news to the interlock and the alerts.
pub fn news(
    config: &Config,
    interlock: Interlock,
    signals: mpsc::Sender<Signal>,
) -> impl Fn(News) + Send + Sync + use<> {
    let (zones, cameras) = (config.zones.clone(), config.cameras.clone());
    move |news| {
        let signal = match news {
            News::Seen { zone, present, people, captured } => {
                interlock.tell(Input::Seen { zone, present, people, captured });
                None
            }
            News::Blind { zone, blind } => {
                interlock.tell(Input::Blind { zone, blind });
                None
            }
            News::View { camera, fault } => cameras.get(camera).map(|camera| {
                let what = fault.map_or("is believed again".into(), |fault| format!("is {}", fault.as_str()));
                let (rule, subject) = ("view".into(), format!("camera/{}", camera.name));
                Signal { active: fault.is_some(), rule, subject, text: format!("camera {} {what}", camera.name) }
            }),
            News::Zone { zone, turn } => zones.get(zone).filter(|zone| zone.alert).map(|zone| {
                let (active, what) = match turn {
                    Turn::Occupied(_) => (true, "is occupied"),
                    Turn::Cleared(_) => (false, "is clear"),
                };
                let subject = format!("zone/{}", zone.name);
                Signal { active, rule: "presence".into(), subject, text: format!("zone {} {what}", zone.name) }
            }),
            News::Camera { camera, stale } => cameras.get(camera).map(|camera| {
                let what = if stale { "gives no pictures" } else { "gives pictures" };
                let (rule, subject) = ("camera".into(), format!("camera/{}", camera.name));
                Signal { active: stale, rule, subject, text: format!("camera {} {what}", camera.name) }
            }),
        };
        if let Some(signal) = signal {
            // Full: the cause stays visible in its own event.
            let _ = signals.try_send(signal);
        }
    }
}
