//! What writes on each link: the safety thread and the vehicles' thread have writers of their own, with sequence numbers,
//! link ids of signatures and times of their own, so that neither waits for the other.

use shared::config::ConfigError;

use super::LinkConfig;
use super::codec::Writer;
use super::command::{OUR_COMPONENT, SUPERVISOR_COMPONENT};
use super::fleet::Link;
use super::signing::{Clock, Guard, Key, Signer};

/// What the safety thread writes with on one link.
#[derive(Debug, Clone)]
pub struct Pens {
    /// The observer's: demands.
    pub observer: Writer,
    /// The supervisor's, whose system id is the vehicles' MAV_GCS_SYSID: its heartbeat.
    pub supervisor: Writer,
}

/// The writers of every link, in the order of the configuration: of the safety thread, and of the vehicles' thread.
///
/// # Errors
/// [`ConfigError`] for a key file that is none.
pub fn ends(links: &[LinkConfig], ids: (u8, u8), clock: &Clock) -> Result<(Vec<Pens>, Vec<Link>), ConfigError> {
    let (observer, supervisor) = ids;
    let end = |(index, config): (usize, &LinkConfig)| {
        let key = config.key_file.as_deref().map(Key::read).transpose();
        let key = key.map_err(|text| ConfigError::new("configuration", format!("link[{index}].key_file"), text))?;
        // Two ids a link: no two senders sign with the same one.
        let first = u8::try_from(index).unwrap_or(u8::MAX / 2).saturating_mul(2);
        let signer = |own: u8| key.clone().map(|key| Signer::new(key, first.saturating_add(own), clock.clone()));
        let pens = Pens {
            observer: Writer::new(observer, OUR_COMPONENT, signer(1)),
            supervisor: Writer::new(supervisor, SUPERVISOR_COMPONENT, signer(1)),
        };
        let writer = Writer::new(observer, OUR_COMPONENT, signer(2));
        let guard = key.map(|key| Guard::new(key, clock.clone()));
        Ok((pens, Link { writer, guard }))
    };
    links.iter().enumerate().map(end).collect()
}
