//! Which of the ways a camera at this machine offers its pictures is taken: pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::sensor::picture;

/// Size and rate that are taken where none is wanted.
pub const USUAL: (u32, u32, f64) = (1280, 720, 30.0);
/// Names as v4l2-ctl shows them and ids (linux/v4l2-controls.h), in the order they are set: what is automatic first.
pub const CONTROLS: [(&str, u32); 16] = [
    ("auto_exposure", 0x009a_0901),
    ("exposure_dynamic_framerate", 0x009a_0903),
    ("focus_automatic_continuous", 0x009a_090c),
    ("white_balance_automatic", 0x0098_090c),
    ("gain_automatic", 0x0098_0912),
    ("exposure_time_absolute", 0x009a_0902),
    ("focus_absolute", 0x009a_090a),
    ("zoom_absolute", 0x009a_090d),
    ("white_balance_temperature", 0x0098_091a),
    ("gain", 0x0098_0913),
    ("brightness", 0x0098_0900),
    ("contrast", 0x0098_0901),
    ("saturation", 0x0098_0902),
    ("sharpness", 0x0098_091b),
    ("backlight_compensation", 0x0098_091c),
    ("power_line_frequency", 0x0098_0918),
];

/// How pictures come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Uncoded, 4:2:2.
    Yuyv,
    /// A JPEG each.
    Mjpeg,
}

/// What is wanted of a camera at this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct V4l2Config {
    /// How pictures come; none: whatever gives the rate, uncoded first.
    pub format: Option<Coding>,
    /// Width and height; none: up to 1280×720.
    pub size: Option<(u32, u32)>,
    /// Least pictures a second; none: up to 30.
    pub fps: Option<u32>,
    /// Controls by the names that `v4l2-ctl --list-ctrls` shows.
    pub controls: BTreeMap<String, i64>,
}

impl V4l2Config {
    /// Key and expectation of a value that would make no sense, if there is one.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if self.size.is_some_and(|(width, height)| width.min(height) < 16 || !picture::fits(width, height)) {
            let (side, all) = (picture::SIDE_MAX, picture::PIXELS_MAX);
            return Some(("v4l2.size", format!("expected 16 to {side} pixels a side and at most {all} in all")));
        }
        if self.fps.is_some_and(|fps| !(1..=240).contains(&fps)) {
            return Some(("v4l2.fps", "expected 1 to 240".into()));
        }
        let stranger = self.controls.keys().find(|name| !CONTROLS.iter().any(|(known, _)| known == name));
        let known = || CONTROLS.map(|(name, _)| name).join(", ");
        stranger.map(|name| ("v4l2.controls", format!("expected names of {}, found {name:?}", known())))
    }
}

/// One way a driver offers pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// How they come.
    pub coding: Coding,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Seconds from one to the next, as a fraction; none: the driver does not say.
    pub interval: Option<(u32, u32)>,
}

impl Offer {
    /// Pictures a second, where the driver says so.
    pub fn fps(&self) -> Option<f64> {
        self.interval.filter(|(over, _)| *over > 0).map(|(over, under)| f64::from(under) / f64::from(over))
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}×{} at {:.4}/s", self.coding, self.width, self.height, self.fps().unwrap_or(f64::NAN))
    }
}

/// The offer nearest to what is wanted: first the size, then the rate, then uncoded before coded.
///
/// # Errors
/// What is offered, where nothing fits.
pub fn choose(offers: &[Offer], wanted: &V4l2Config) -> Result<Offer, String> {
    let fits = |offer: &&Offer| {
        wanted.format.is_none_or(|coding| coding == offer.coding)
            && wanted.size.is_none_or(|size| size == (offer.width, offer.height))
            // 29.97 is 30.
            && wanted.fps.is_none_or(|fps| offer.fps().is_none_or(|rate| rate >= f64::from(fps) * 0.98))
            && usable(offer)
    };
    // How far it is from the usual; what is above it comes after everything below.
    let off = |value: f64, usual: f64| if value <= usual { usual - value } else { value + usual };
    let rank = |offer: &Offer| {
        let area = off(f64::from(offer.width) * f64::from(offer.height), f64::from(USUAL.0) * f64::from(USUAL.1));
        let rate = match wanted.fps {
            Some(fps) => offer.fps().map_or(f64::MAX, |rate| (rate - f64::from(fps)).abs()),
            None => offer.fps().map_or(f64::MAX, |rate| off(rate, USUAL.2 * 1.02)),
        };
        (area, rate, offer.coding)
    };
    let nearer = |a: &&Offer, b: &&Offer| {
        let ((a, a_rate, a_coding), (b, b_rate, b_coding)) = (rank(a), rank(b));
        a.total_cmp(&b).then(a_rate.total_cmp(&b_rate)).then(a_coding.cmp(&b_coding))
    };
    offers.iter().filter(fits).min_by(nearer).copied().ok_or_else(|| refusal(offers, wanted))
}

/// Whether pictures of it can be taken at all.
const fn usable(offer: &Offer) -> bool {
    let whole = matches!(offer.coding, Coding::Mjpeg) || offer.width.is_multiple_of(2);
    whole && picture::fits(offer.width, offer.height)
}

/// What was wanted, and each size of that kind that is offered, with its fastest rate; the largest first.
fn refusal(offers: &[Offer], wanted: &V4l2Config) -> String {
    let asked = [
        Some(wanted.format.map_or("YUYV or MJPEG".into(), |coding| format!("{coding:?}"))),
        wanted.size.map(|(width, height)| format!("{width}×{height}")),
        wanted.fps.map(|fps| format!("at {fps}/s")),
    ];
    let asked = asked.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let mut fastest = BTreeMap::new();
    let kind = |offer: &&Offer| usable(offer) && wanted.format.is_none_or(|coding| coding == offer.coding);
    for offer in offers.iter().filter(kind) {
        let rate = fastest.entry((offer.coding, offer.width, offer.height)).or_insert(0.0_f64);
        *rate = rate.max(offer.fps().unwrap_or(0.0));
    }
    let list = fastest.into_iter().rev().map(|((coding, width, height), rate)| match rate > 0.0 {
        true => format!("{coding:?} {width}×{height} up to {rate:.0}/s"),
        false => format!("{coding:?} {width}×{height}"),
    });
    let list = list.collect::<Vec<_>>().join(", ");
    if list.is_empty() {
        let (side, all) = (picture::SIDE_MAX, picture::PIXELS_MAX);
        return format!(
            "expected what the camera has, found {asked}: it has nothing of that kind with at most {side} pixels a side and \
             {all} in all (YUYV: an even width)"
        );
    }
    format!("expected what the camera has, found {asked}: it has {list}")
}

/// The nearest value of a range, on a step.
pub fn step(wanted: u32, least: u32, most: u32, step: u32) -> u32 {
    let inside = wanted.clamp(least, most.max(least));
    inside - (inside - least) % step.max(1)
}

/// The interval of a rate, or the nearest that a range of intervals has.
pub fn within(fps: u32, shortest: (u32, u32), longest: (u32, u32)) -> (u32, u32) {
    let seconds = |(over, under): (u32, u32)| f64::from(over) / f64::from(under.max(1));
    let wanted = 1.0 / f64::from(fps.max(1));
    match () {
        () if wanted < seconds(shortest) => shortest,
        () if wanted > seconds(longest) => longest,
        () => (1, fps.max(1)),
    }
}
