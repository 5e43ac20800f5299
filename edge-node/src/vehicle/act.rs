//! What the fleet says must be done.

use super::codec::Packet;
use super::errands::Found;
use super::gate;
use super::state::Report;
use super::stations::Reply;
use super::way::Way;

/// What must be done.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "reports are most of them, and go on at once")]
pub enum Act {
    /// Tell the interlock.
    Report(Report),
    /// Tell the safety thread where a vehicle is on a link.
    Way {
        /// Index of the vehicle.
        vehicle: usize,
        /// Index of the link.
        link: usize,
        /// Where, if anywhere.
        way: Option<Way>,
    },
    /// Send a packet.
    Send(Way, Vec<u8>),
    /// Journal a vehicle's state.
    Sample(usize),
    /// Journal what a vehicle said.
    Said {
        /// Index of the vehicle.
        vehicle: usize,
        /// MAV_SEVERITY.
        severity: u8,
        /// Its words.
        text: String,
    },
    /// A receiver told of an aircraft that is not ours.
    Aircraft {
        /// Index of the link.
        link: usize,
        /// What it told.
        packet: Packet,
    },
    /// A ground station presses the e-stop: for a vehicle, or for the site.
    Press {
        /// Index of the vehicle.
        vehicle: Option<usize>,
        /// Who.
        by: String,
        /// How it is answered.
        reply: Reply,
    },
    /// A ground station asks for something.
    Ask {
        /// Index of the vehicle.
        vehicle: usize,
        /// What.
        wish: gate::Wish,
        /// Who.
        by: String,
        /// How it is answered.
        reply: Reply,
    },
    /// Count a packet that was not taken.
    Refused {
        /// Index of the link.
        link: usize,
        /// Why.
        why: &'static str,
    },
    /// What somebody wanted of a vehicle has ended.
    Found {
        /// Number of the wish.
        id: u64,
        /// What was found, or why not.
        found: Result<Found, String>,
    },
    /// A vehicle is listened to on another link or at another address.
    Moved {
        /// Index of the vehicle.
        vehicle: usize,
        /// Index of the link.
        link: usize,
    },
}
