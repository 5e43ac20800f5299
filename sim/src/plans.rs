//! Missions and fences that are uploaded and read back (<https://mavlink.io/en/services/mission.html>), as ArduPilot does it: a
//! fence whose upload is not finished stays as it was, a mission is replaced item by item, and its first item is home, whatever
//! was sent. Pure.

use mavlink::dialects::ardupilotmega::{
    MISSION_ACK_DATA, MISSION_COUNT_DATA, MISSION_ITEM_INT_DATA, MISSION_REQUEST_INT_DATA, MavCmd, MavMessage,
    MavMissionResult, MavMissionType,
};

/// Metres of a degree of latitude on a sphere of 6 371 km.
pub const METRES_PER_DEGREE: f64 = 111_194.93;
/// An upload that stands still for this long is given up, seconds.
const GIVEN_UP_S: f64 = 8.0;
/// Items of one plan.
const MOST: u16 = 700;

/// Metres east and north of home.
pub fn metres([home_lat, home_lon]: [f64; 2], [lat, lon]: [f64; 2]) -> [f64; 2] {
    let shrink = home_lat.to_radians().cos();
    [(lon - home_lon) * METRES_PER_DEGREE * shrink, (lat - home_lat) * METRES_PER_DEGREE]
}

struct Upload {
    kind: MavMissionType,
    count: u16,
    items: Vec<MISSION_ITEM_INT_DATA>,
    heard_s: f64,
}

/// What was uploaded.
pub struct Plans {
    sysid: u8,
    mission: Vec<MISSION_ITEM_INT_DATA>,
    fence: Vec<MISSION_ITEM_INT_DATA>,
    upload: Option<Upload>,
}

impl Plans {
    /// No mission, and an inclusion of these corners, latitude and longitude in degrees, or none.
    pub fn new(sysid: u8, fence_deg: &[[f64; 2]]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "MAVLink's fixed-point fields")]
        let corner = |(seq, [lat, lon]): (u16, &[f64; 2])| MISSION_ITEM_INT_DATA {
            seq,
            param1: fence_deg.len() as f32,
            x: (lat * 1e7).round() as i32,
            y: (lon * 1e7).round() as i32,
            command: MavCmd::MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION,
            mission_type: MavMissionType::MAV_MISSION_TYPE_FENCE,
            ..MISSION_ITEM_INT_DATA::DEFAULT
        };
        Self { sysid, mission: Vec::new(), fence: (0..).zip(fence_deg).map(corner).collect(), upload: None }
    }

    const fn of(&self, kind: MavMissionType) -> Option<&Vec<MISSION_ITEM_INT_DATA>> {
        match kind {
            MavMissionType::MAV_MISSION_TYPE_MISSION => Some(&self.mission),
            MavMissionType::MAV_MISSION_TYPE_FENCE => Some(&self.fence),
            _ => None,
        }
    }

    /// Items of the fence.
    pub fn fence(&self) -> &[MISSION_ITEM_INT_DATA] {
        &self.fence
    }

    /// Corners of the mission, metres east and north of home; `None`: none was uploaded.
    pub fn corners(&self, home: [f64; 2]) -> Option<Vec<[f64; 2]>> {
        let waypoints = self.mission.iter().skip(1).filter(|item| item.command == MavCmd::MAV_CMD_NAV_WAYPOINT);
        let places = waypoints.map(|item| metres(home, [f64::from(item.x) / 1e7, f64::from(item.y) / 1e7]));
        Some(places.collect::<Vec<_>>()).filter(|places| !places.is_empty())
    }

    /// Takes a message of a system; gives the answers, and whether a mission was uploaded.
    pub fn take(&mut self, from: u8, message: &MavMessage, now_s: f64) -> (Vec<MavMessage>, bool) {
        let ours = |target: u8| target == self.sysid;
        match message {
            MavMessage::MISSION_COUNT(count) if ours(count.target_system) => {
                let busy = self.upload.as_ref().is_some_and(|upload| now_s - upload.heard_s < GIVEN_UP_S);
                let same = self.upload.as_ref().is_some_and(|upload| upload.kind == count.mission_type);
                if busy && !same {
                    return (vec![ack(from, count.mission_type, MavMissionResult::MAV_MISSION_DENIED)], false);
                }
                if self.of(count.mission_type).is_none() || count.count > MOST {
                    let result = match count.count > MOST {
                        true => MavMissionResult::MAV_MISSION_NO_SPACE,
                        false => MavMissionResult::MAV_MISSION_UNSUPPORTED,
                    };
                    return (vec![ack(from, count.mission_type, result)], false);
                }
                if count.mission_type == MavMissionType::MAV_MISSION_TYPE_MISSION {
                    self.mission.truncate(usize::from(count.count));
                }
                let upload = Upload { kind: count.mission_type, count: count.count, items: Vec::new(), heard_s: now_s };
                self.upload = Some(upload);
                self.next(from)
            }
            MavMessage::MISSION_ITEM_INT(item) if ours(item.target_system) => {
                let Some(upload) = self.upload.as_mut().filter(|upload| upload.kind == item.mission_type) else {
                    return (Vec::new(), false);
                };
                upload.heard_s = now_s;
                // Another than the one that was asked for is asked for again.
                if usize::from(item.seq) == upload.items.len() {
                    upload.items.push(item.clone());
                    if item.mission_type == MavMissionType::MAV_MISSION_TYPE_MISSION {
                        match self.mission.get_mut(usize::from(item.seq)) {
                            Some(old) => *old = item.clone(),
                            None => self.mission.push(item.clone()),
                        }
                    }
                }
                self.next(from)
            }
            MavMessage::MISSION_CLEAR_ALL(clear) if ours(clear.target_system) => {
                match clear.mission_type {
                    MavMissionType::MAV_MISSION_TYPE_FENCE => self.fence.clear(),
                    _ => self.mission.clear(),
                }
                (vec![ack(from, clear.mission_type, MavMissionResult::MAV_MISSION_ACCEPTED)], false)
            }
            MavMessage::MISSION_REQUEST_LIST(list) if ours(list.target_system) => {
                let count = self.of(list.mission_type).map_or(0, Vec::len);
                let count = MISSION_COUNT_DATA {
                    count: u16::try_from(count).unwrap_or(0),
                    target_system: from,
                    mission_type: list.mission_type,
                    ..MISSION_COUNT_DATA::DEFAULT
                };
                (vec![MavMessage::MISSION_COUNT(count)], false)
            }
            MavMessage::MISSION_REQUEST_INT(wanted) if ours(wanted.target_system) => {
                let found = self.of(wanted.mission_type).and_then(|plan| plan.get(usize::from(wanted.seq)));
                let answer = match found {
                    Some(item) => {
                        MavMessage::MISSION_ITEM_INT(MISSION_ITEM_INT_DATA { target_system: from, ..item.clone() })
                    }
                    None => ack(from, wanted.mission_type, MavMissionResult::MAV_MISSION_INVALID_SEQUENCE),
                };
                (vec![answer], false)
            }
            _ => (Vec::new(), false),
        }
    }

    /// Asks for the next item, or takes what is whole.
    fn next(&mut self, from: u8) -> (Vec<MavMessage>, bool) {
        let Some(upload) = self.upload.take() else { return (Vec::new(), false) };
        let kind = upload.kind;
        if upload.items.len() < usize::from(upload.count) {
            let seq = u16::try_from(upload.items.len()).unwrap_or(0);
            let wanted =
                MISSION_REQUEST_INT_DATA { seq, target_system: from, target_component: 190, mission_type: kind };
            self.upload = Some(upload);
            return (vec![MavMessage::MISSION_REQUEST_INT(wanted)], false);
        }
        let mission = kind == MavMissionType::MAV_MISSION_TYPE_MISSION;
        match mission {
            true => self.mission = upload.items,
            false => self.fence = upload.items,
        }
        (vec![ack(from, kind, MavMissionResult::MAV_MISSION_ACCEPTED)], mission)
    }
}

fn ack(target_system: u8, mission_type: MavMissionType, mavtype: MavMissionResult) -> MavMessage {
    MavMessage::MISSION_ACK(MISSION_ACK_DATA { target_system, mission_type, mavtype, ..MISSION_ACK_DATA::DEFAULT })
}
