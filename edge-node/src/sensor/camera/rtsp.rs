//! H.264 over RTSP (RFC 2326, RFC 6184): a camera's stream as access units, by the retina crate. Decodes nothing.
//!
//! Limits: steps of the session and the time between two pictures have deadlines, since the peer has none of its own;
//! a unit and what the parameter sets ask for are bounded. After its first error a session is not touched again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use retina::client::{
    Credentials, Demuxed, PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions, TeardownPolicy,
    Transport, UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef, VideoFrame, VideoParametersCodec};
use serde::Deserialize;
use shared::units::Uptime;
use tokio::time::timeout;
use url::Url;

use super::h264::Parameters;
use super::narrow::narrow;
use crate::clock;

/// Longest time for one step of opening a session.
const STEP: Duration = Duration::from_secs(5);
/// RTSP's own port.
const PORT: u16 = 554;
/// A camera that gives no picture for this time is opened again.
const SILENCE: Duration = Duration::from_secs(5);
/// Largest access unit, in bytes: a key frame of 4K at the highest quality has 2 MiB.
pub const UNIT_MAX: usize = 8 * 1024 * 1024;
/// Time stamps that stand for this time are those of a camera that hangs.
pub const STANDS: Duration = Duration::from_millis(750);
/// The same in [`TICKS`]: so far they must have gone in the session after that, before it is believed.
pub const GOES: i64 = 67_500;
/// Ticks of a second in H.264's RTP time stamps (RFC 6184, 8.2.1).
pub const TICKS: u32 = 90_000;

/// How packets come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// Interleaved in the session's connection: nothing is lost on the way.
    #[default]
    Tcp,
    /// Datagrams: less delay; what is lost costs pictures until the next key frame.
    Udp,
}

/// Pictures come, and the camera's clock stands.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("read RTSP: time stamps stand still")]
pub struct Frozen;

/// Where a stream is and who asks for it.
#[derive(Clone)]
pub struct Address {
    /// `rtsp://HOST/PATH`, without user and password.
    pub url: Url,
    /// User and password, if the camera wants them.
    pub login: Option<(String, String)>,
    /// How packets come.
    pub carrier: Carrier,
}

/// One access unit as it came.
#[derive(Debug, Clone)]
pub struct Unit {
    /// NAL units, each behind four bytes of length, without parameter sets.
    pub data: Arc<[u8]>,
    /// When it is shown, in [`TICKS`] from any beginning.
    pub shown: i64,
    /// When its first packet came.
    pub received: Uptime,
    /// Whether decoding can begin with it.
    pub key: bool,
    /// Whether packets before it were lost.
    pub lost: bool,
    /// What its stream says of itself.
    pub parameters: Arc<Parameters>,
}

/// Reads an address: no user or password in it, since URLs are shown and logged.
///
/// # Errors
/// What was expected; the text is not repeated.
pub fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "expected rtsp://HOST/PATH")?;
    if url.scheme() != "rtsp" || url.host_str().is_none_or(str::is_empty) {
        return Err("expected rtsp://HOST/PATH".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected an address without user and password: they belong into user and password_file".into());
    }
    Ok(url)
}

/// User and password, read from its file of one line.
///
/// # Errors
/// When the file cannot be read.
pub fn login(user: Option<&str>, password_file: Option<&Path>) -> anyhow::Result<Option<(String, String)>> {
    let Some((user, file)) = user.zip(password_file) else { return Ok(None) };
    let password = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(Some((user.to_owned(), password.trim_end_matches(['\r', '\n']).to_owned())))
}

/// Plays a stream until it ends; `take` is given each unit.
///
/// # Errors
/// Why it ended, on one line and without the address.
pub async fn play(address: Address, mut take: impl FnMut(Unit)) -> anyhow::Result<()> {
    let (mut stream, index) = open(address).await?;
    let (mut deadline, mut parameters, mut newest) =
        (clock::uptime().plus(SILENCE), None, (i64::MIN, clock::uptime(), 0));
    loop {
        // Looked at by hand: a flood of other packets would hide the deadline.
        let left = deadline.since(clock::uptime());
        ensure!(!left.is_zero(), "read RTSP: no picture in {SILENCE:?}");
        let item = timeout(left, stream.next()).await;
        let item = item.map_err(|_| anyhow::anyhow!("read RTSP: no picture in {SILENCE:?}"))?;
        let frame = match item.context("read RTSP: the camera closed the stream")? {
            Ok(CodecItem::VideoFrame(frame)) => frame,
            Ok(_) => continue,
            Err(error) => bail!("read RTSP: {}", plain(&error)),
        };
        if parameters.is_none() || frame.has_new_parameters() {
            parameters = read_parameters(&stream, index)?.or(parameters);
        }
        ensure!(frame.data().len() <= UNIT_MAX, "read RTSP: expected access units of at most {UNIT_MAX} bytes");
        let Some(parameters) = &parameters else { continue };
        deadline = clock::uptime().plus(SILENCE);
        let shown = frame.timestamp().elapsed();
        if shown > newest.0 {
            newest = (shown, clock::uptime(), 0);
        } else {
            newest.2 += 1;
        }
        // Units that are shown before others that came earlier do not go on.
        let stands = newest.2 > parameters.reorder + 1 && clock::uptime().since(newest.1) >= STANDS;
        // The newest again and again is a clock that stands; another time is another recording, or a clock set back.
        ensure!(!stands || shown != newest.0, Frozen);
        ensure!(!stands, "read RTSP: time stamps go back");
        take(unit(frame, shown, parameters.clone()));
    }
}

/// Opens a session and begins to play its first H.264 stream.
async fn open(address: Address) -> anyhow::Result<(Demuxed, usize)> {
    let login = address.login.map(|(username, password)| Credentials { username, password });
    let options = SessionOptions::default().creds(login).user_agent("picket".into()).teardown(TeardownPolicy::Auto);
    let url = match address.carrier {
        Carrier::Tcp => within_limits(&address.url).await.context("open RTSP stream")?,
        // Datagrams come from where the session is: it must be the camera itself.
        Carrier::Udp => address.url,
    };
    let mut session = step("describe", Session::describe(url, options)).await?;
    let is_h264 = |s: &retina::client::Stream| s.media() == "video" && s.encoding_name() == "h264";
    let index = session.streams().iter().position(is_h264).context("open RTSP stream: it has no H.264 video")?;
    let transport = match address.carrier {
        Carrier::Tcp => Transport::Tcp(TcpTransportOptions::default()),
        Carrier::Udp => Transport::Udp(UdpTransportOptions::default()),
    };
    let setup = SetupOptions::default().transport(transport).frame_format(FrameFormat::MP4);
    step("set up", session.setup(index, setup)).await?;
    let playing = step("play", session.play(PlayOptions::default())).await?;
    let stream = playing.demuxed().map_err(|error| anyhow::anyhow!("open RTSP stream: {}", plain(&error)))?;
    Ok((stream, index))
}

/// The same stream by a way that carries no more than a camera sends. The camera sees another host in requests, as one behind
/// a router does.
async fn within_limits(url: &Url) -> anyhow::Result<Url> {
    let host = url.host_str().context("an address without a host")?.trim_matches(['[', ']']);
    let way = narrow(host, url.port().unwrap_or(PORT), STEP).await?;
    let mut url = url.clone();
    url.set_host(Some(&way.ip().to_string())).context("name the way")?;
    url.set_port(Some(way.port())).map_err(|()| anyhow::anyhow!("name the way"))?;
    Ok(url)
}

async fn step<T>(what: &str, doing: impl Future<Output = Result<T, retina::Error>>) -> anyhow::Result<T> {
    match timeout(STEP, doing).await {
        Err(_) => bail!("{what} RTSP stream: no answer in {STEP:?}"),
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.status_code() == Some(401) => {
            bail!("{what} RTSP stream: the camera refuses user and password (401)")
        }
        Ok(Err(error)) => bail!("{what} RTSP stream: {}", plain(&error)),
    }
}

/// An error without what must not be shown: its first line is the library's, the rest holds addresses; URLs in it may
/// hold keys.
fn plain(error: &retina::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let words = line.split(' ').map(|word| if word.contains("://") { "(address)" } else { word });
    let shown: String = words.collect::<Vec<_>>().join(" ");
    shown.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn read_parameters(stream: &Demuxed, index: usize) -> anyhow::Result<Option<Arc<Parameters>>> {
    let Some(ParametersRef::Video(video)) = stream.streams().get(index).and_then(|s| s.parameters()) else {
        return Ok(None);
    };
    let VideoParametersCodec::H264 { sps, pps } = video.codec_params() else { return Ok(None) };
    let parameters = Parameters::new(sps, pps).map_err(anyhow::Error::msg).context("read RTSP")?;
    Ok(Some(Arc::new(parameters)))
}

fn unit(frame: VideoFrame, shown: i64, parameters: Arc<Parameters>) -> Unit {
    // When it came by its own clock, as ours: decoding must not make it younger.
    let age = frame.start_ctx().received().elapsed();
    let (key, lost) = (frame.is_random_access_point(), frame.loss() > 0);
    Unit { data: frame.into_data().into(), shown, received: clock::uptime().minus(age), key, lost, parameters }
}
