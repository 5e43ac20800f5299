//! What writes on each link: the safety thread and the vehicles' thread have writers of their own, with sequence numbers,
//! link ids of signatures and times of their own, so that neither waits for the other.

use shared::config::ConfigError;

use super::LinkConfig;
use super::codec::Writer;
use super::command::{OUR_COMPONENT, SUPERVISOR_COMPONENT};
use super::craft::Link;
use super::signing::{Clock, Guard, Key, Signer};

/// What the safety thread writes with on one link.
#[derive(Debug, Clone)]
pub struct Pens {
    /// The observer's: demands.
    pub observer: Writer,
    /// The supervisor's, whose system id is the vehicles' MAV_GCS_SYSID: its heartbeat.
    pub supervisor: Writer,
}

/// First link id of our own.
const OURS: u8 = 128;

/// What writes and judges on the links, each in the order of the configuration.
#[derive(Debug, Default)]
pub struct Ends {
    /// Of the safety thread.
    pub pens: Vec<Pens>,
    /// Of the vehicles' thread.
    pub links: Vec<Link>,
    /// Who looks at signatures, one for each key.
    pub guards: Vec<Guard>,
}

/// The writers of every link, in the order of the configuration: of the safety thread, and of the vehicles' thread.
///
/// # Errors
/// [`ConfigError`] for a key file that is none.
pub fn ends(links: &[LinkConfig], ids: (u8, u8), clock: &Clock) -> Result<Ends, ConfigError> {
    let (observer, supervisor) = ids;
    let mut ends = Ends::default();
    for (index, config) in links.iter().enumerate() {
        let key = config.key_file.as_deref().map(Key::read).transpose();
        let key = key.map_err(|text| ConfigError::new("configuration", format!("link[{index}].key_file"), text))?;
        // Two ids a link: no two senders sign with the same one, and ground stations count from zero.
        let first = u8::try_from(index).unwrap_or(OURS).saturating_mul(2).saturating_add(OURS);
        let signer = |own: u8| key.clone().map(|key| Signer::new(key, first.saturating_add(own), clock.clone()));
        ends.pens.push(Pens {
            observer: Writer::new(observer, OUR_COMPONENT, signer(0)),
            supervisor: Writer::new(supervisor, SUPERVISOR_COMPONENT, signer(0)),
        });
        let writer = Writer::new(observer, OUR_COMPONENT, signer(1));
        let guard = key.map(|key| {
            let known = ends.guards.iter().position(|guard| guard.is_of(&key));
            known.unwrap_or_else(|| {
                ends.guards.push(Guard::new(key, clock.clone()));
                ends.guards.len() - 1
            })
        });
        ends.links.push(Link { writer, guard });
    }
    Ok(ends)
}
