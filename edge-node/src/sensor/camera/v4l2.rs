//! Cameras at this machine (USB; CSI where the driver gives finished pictures), by V4L2.
//!
//! The kernel's length and error flag of each buffer are kept to: behind them lies an older picture. No wait is without
//! end. What was filled while the last picture was decoded is passed over: a picture is stamped when it is waited for.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use shared::units::Uptime;
use v4l::buffer::{Flags, Type};
use v4l::control::{Control, Value};
use v4l::device::Handle;
use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::io::traits::{CaptureStream, Stream};
use v4l::prelude::MmapStream;
use v4l::video::Capture;
use v4l::video::capture::Parameters;
use v4l::{Device, Format, FourCC, Fraction};

use super::offer::{CONTROLS, Coding, Offer, USUAL, V4l2Config, choose, step, within};
use super::{tables, yuyv};
use crate::clock;
use crate::sensor::frame::Picture;
use crate::sensor::picture;

/// A driver that says nothing for this time to whoever reads is an error.
const SILENCE: Duration = Duration::from_secs(5);
/// Longest wait, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(50);
/// So many pictures in a row that cannot be used are an error.
const USELESS: u32 = 30;
/// Buffers of the driver.
const BUFFERS: u32 = 6;
/// poll(2): there is something to read.
const POLLIN: i16 = 1;
/// What is in a buffer.
#[derive(Debug)]
pub struct Shot<'a> {
    /// As many bytes as the driver has filled.
    pub bytes: &'a [u8],
    /// The driver says that it is damaged.
    pub broken: bool,
}

/// Where buffers come from: a driver, or a test.
pub trait Shots {
    /// Whether one is there, or an error to be taken, within `wait`.
    ///
    /// # Errors
    /// The system's.
    fn ready(&self, wait: Duration) -> io::Result<bool>;
    /// Takes the next one; the one before is given back.
    ///
    /// # Errors
    /// The system's: the camera is gone.
    fn take(&mut self) -> io::Result<Shot<'_>>;
}

/// What a camera gives.
#[derive(Debug)]
pub enum Told<'a> {
    /// A picture and when it came.
    Shot(&'a [u8], Uptime),
    /// One that the driver calls damaged.
    Broken,
    /// One that came while the last was decoded.
    Passed,
}

/// Plays a camera until stopped; `told` says whether what it is told of can be used.
///
/// # Errors
/// When it is gone, gives nothing for `silence`, or nothing that can be used: it may have another size now.
pub fn play(
    shots: &mut impl Shots,
    silence: Duration,
    stopped: impl Fn() -> bool,
    mut told: impl FnMut(Told<'_>) -> bool,
) -> anyhow::Result<()> {
    let (mut heard, mut useless) = (clock::uptime(), 0);
    while !stopped() {
        while shots.ready(Duration::ZERO).context("wait for the camera")? && !stopped() {
            let shot = shots.take().context("read the camera")?;
            heard = clock::uptime();
            told(if shot.broken { Told::Broken } else { Told::Passed });
        }
        if !shots.ready(NAP).context("wait for the camera")? {
            ensure!(clock::uptime().since(heard) < silence, "read the camera: no picture in {silence:?}");
            continue;
        }
        let came = clock::uptime();
        let shot = shots.take().context("read the camera")?;
        heard = came;
        let good = told(if shot.broken { Told::Broken } else { Told::Shot(shot.bytes, came) });
        useless = if good { 0 } else { useless + 1 };
        ensure!(useless < USELESS, "read the camera: {USELESS} pictures in a row cannot be used");
    }
    Ok(())
}

/// How its bytes become a picture.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// How they come.
    pub coding: Coding,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bytes of a row.
    pub stride: u32,
}

impl Form {
    /// Makes a picture; `place` names it in errors.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn picture(&self, bytes: &[u8], place: &str) -> Result<Picture, String> {
        let picture = match self.coding {
            Coding::Yuyv => yuyv::i420(bytes, self.width, self.height, self.stride)?,
            Coding::Mjpeg => picture::decode(&tables::complete(bytes), place).map_err(|error| error.to_string())?,
        };
        match (picture.width, picture.height) {
            size if size == (self.width, self.height) => Ok(picture),
            (width, height) => Err(format!("expected {}×{}, found {width}×{height}", self.width, self.height)),
        }
    }
}

/// An open camera that streams.
pub struct Local {
    stream: MmapStream<'static>,
    handle: Arc<Handle>,
}

impl Shots for Local {
    fn ready(&self, wait: Duration) -> io::Result<bool> {
        match self.handle.poll(POLLIN, i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            polled => polled.map(|ready| ready > 0),
        }
    }

    fn take(&mut self) -> io::Result<Shot<'_>> {
        let (bytes, meta) = self.stream.next()?;
        let filled = usize::try_from(meta.bytesused).ok().and_then(|used| bytes.get(..used));
        let broken = meta.flags.contains(Flags::ERROR) || filled.is_none_or(<[u8]>::is_empty);
        Ok(Shot { bytes: filled.unwrap_or_default(), broken })
    }
}

/// Opens a camera and starts it.
///
/// # Errors
/// When it is not there, somebody else has it, or it gives not what is wanted.
pub fn open(path: &Path, wanted: &V4l2Config) -> anyhow::Result<(Local, Form)> {
    let device = Device::with_path(path).with_context(|| format!("open {}", path.display()))?;
    let offer = choose(&offers(&device, wanted), wanted).map_err(anyhow::Error::msg);
    let offer = offer.with_context(|| format!("open {}", path.display()))?;
    let asked = Format::new(offer.width, offer.height, fourcc(offer.coding));
    let got = device.set_format(&asked).with_context(|| format!("set {offer}"))?;
    let same = (got.width, got.height, got.fourcc) == (asked.width, asked.height, asked.fourcc);
    ensure!(same, "set {offer}: the driver gives {} {}×{}", got.fourcc, got.width, got.height);
    // A driver that does not say what it has may still take what is wanted, or not know of rates at all.
    if let Some((over, under)) = offer.interval.or(wanted.fps.map(|fps| (1, fps))) {
        let given = device.set_params(&Parameters::new(Fraction::new(over, under)));
        let given = given.map(|given| (given.interval.numerator, given.interval.denominator));
        let rate = match (given, offer.interval) {
            (Err(error), Some(_)) => return Err(error).context("set the rate"),
            (Err(_), None) => None,
            (Ok(interval), _) => Offer { interval: Some(interval), ..offer }.fps().filter(|rate| *rate > 0.0),
        };
        let slow = |fps: u32| rate.map_or(offer.interval.is_some(), |rate| rate < f64::from(fps) * 0.98);
        ensure!(
            !wanted.fps.is_some_and(slow),
            "set {offer}: the driver gives {} pictures a second",
            rate.unwrap_or(0.0)
        );
    }
    for (name, id) in CONTROLS {
        let Some(value) = wanted.controls.get(name).copied() else { continue };
        let control = Control { id, value: Value::Integer(value) };
        device.set_control(control).with_context(|| format!("set {name} to {value}"))?;
        let found = device.control(id).with_context(|| format!("read {name}"))?.value;
        let good = found == Value::Integer(value) || found == Value::Boolean(value != 0);
        ensure!(good, "set {name} to {value}: the driver keeps {found:?}");
    }
    let mut stream = MmapStream::with_buffers(&device, Type::VideoCapture, BUFFERS).context("map buffers")?;
    stream.set_timeout(SILENCE);
    // All but the first, which `next` gives to the driver: so it can be polled before the first `next`. A driver may have
    // made fewer.
    for index in 1..BUFFERS as usize {
        if stream.queue(index).is_err() {
            break;
        }
    }
    stream.start().context("start the camera")?;
    let handle = stream.handle();
    Ok((
        Local { stream, handle },
        Form {
            coding: offer.coding,
            width: got.width,
            height: got.height,
            // Some drivers leave it at nothing where rows have no padding.
            stride: if got.stride == 0 { got.width * 2 } else { got.stride },
        },
    ))
}

fn fourcc(coding: Coding) -> FourCC {
    FourCC::new(if coding == Coding::Yuyv { b"YUYV" } else { b"MJPG" })
}

/// What the driver offers; of ranges the nearest to what is wanted.
pub fn offers(device: &Device, wanted: &V4l2Config) -> Vec<Offer> {
    let mut offers = Vec::new();
    for coding in [Coding::Yuyv, Coding::Mjpeg] {
        for size in device.enum_framesizes(fourcc(coding)).unwrap_or_default() {
            let (width, height) = match size.size {
                FrameSizeEnum::Discrete(size) => (size.width, size.height),
                FrameSizeEnum::Stepwise(range) => {
                    let (width, height) = wanted.size.unwrap_or((USUAL.0, USUAL.1));
                    (
                        step(width, range.min_width, range.max_width, range.step_width),
                        step(height, range.min_height, range.max_height, range.step_height),
                    )
                }
            };
            let intervals = device.enum_frameintervals(fourcc(coding), width, height).unwrap_or_default();
            let before = offers.len();
            offers.extend(intervals.into_iter().map(|interval| {
                let (over, under) = match interval.interval {
                    FrameIntervalEnum::Discrete(each) => (each.numerator, each.denominator),
                    FrameIntervalEnum::Stepwise(range) => {
                        let [shortest, longest] = [range.min, range.max].map(|each| (each.numerator, each.denominator));
                        within(wanted.fps.unwrap_or(30), shortest, longest)
                    }
                };
                Offer { coding, width, height, interval: Some((over, under)) }
            }));
            if offers.len() == before {
                offers.push(Offer { coding, width, height, interval: None });
            }
        }
    }
    offers
}
