//! Where people stand, as one picture shows them: a few places by value, since the safety thread asks for no memory.

use serde::{Deserialize, Serialize};

use super::Point;

/// Places of one zone that are kept: more people than these are a crowd, which stands anywhere.
pub const MOST: usize = 8;

/// People in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct People {
    at: [Point; MOST],
    count: u8,
    /// Somebody is there of whom no place is known.
    anywhere: bool,
}

impl People {
    /// Somebody, anywhere in the zone.
    pub fn anywhere() -> Self {
        Self { anywhere: true, ..Self::default() }
    }

    /// One more, at a place if that is known.
    pub fn add(&mut self, place: Option<Point>) {
        match place.zip(self.at.get_mut(usize::from(self.count))) {
            Some((place, free)) => (*free, self.count) = (place, self.count + 1),
            None => self.anywhere = true,
        }
    }

    /// Whether somebody may be anywhere in the zone.
    pub const fn is_anywhere(&self) -> bool {
        self.anywhere || self.count == 0
    }

    /// Places that are known.
    pub fn places(&self) -> impl Iterator<Item = Point> + '_ {
        self.at.iter().take(usize::from(self.count)).copied()
    }
}
