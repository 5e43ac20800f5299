//! Cameras that are none: peers that speak RTSP badly, slowly or to do harm. Each costs an error of its own camera.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_node::health::Of;
use edge_node::sensor::camera::h264::Parameters;
use edge_node::sensor::camera::rtsp::{Address, Carrier, Unit, parse, play};

use crate::sensing::Playing;
use crate::stream::encoded;

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    let letter =
        |n: u32| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[n as usize & 63]);
    let group = |three: &[u8]| {
        let bits = three.iter().enumerate().fold(0u32, |bits, (n, byte)| bits | u32::from(*byte) << (16 - 8 * n));
        let letters: String =
            [18, 12, 6, 0].map(|shift| letter(bits >> shift)).into_iter().take(three.len() + 1).collect();
        format!("{letters:=<4}")
    };
    bytes.chunks(3).map(group).collect()
}

/// The parameter sets of a stream of this size, as a description has them.
fn sets(width: u32, height: u32) -> String {
    format!("{},{}", base64(&claim(width, height)), base64(&[0x68, 0xCE, 0x38, 0x80]))
}

/// What the camera says after PLAY, and whether it then stays.
type After = Box<dyn Fn(&mut TcpStream) + Send + Sync>;

/// A camera whose description has these parameter sets, or whose session header is its own.
struct Bad {
    sets: String,
    session: &'static str,
    after: After,
}

/// Serves every connection the same way; gives its port.
fn serve(bad: Bad) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bad = Arc::new(bad);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (bad, stream) = (bad.clone(), stream.unwrap());
            std::thread::spawn(move || answer(&bad, stream, port));
        }
    });
    port
}

fn answer(bad: &Bad, mut stream: TcpStream, port: u16) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut request = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if !line.is_empty() {
            request.push(line);
            continue;
        }
        let number = request.iter().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("0").to_owned();
        let verb = request.first().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
        request.clear();
        let (headers, body) = match verb.as_str() {
            "DESCRIBE" => {
                let body = format!(
                    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n\
                     a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets={}\r\na=control:v\r\n",
                    bad.sets
                );
                let base = format!("Content-Base: rtsp://127.0.0.1:{port}/x/\r\n");
                (format!("{base}Content-Type: application/sdp\r\nContent-Length: {}\r\n", body.len()), body)
            }
            "SETUP" => {
                let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
                (format!("{transport}Session: {}\r\n", bad.session), String::new())
            }
            _ => (format!("Session: {}\r\n", bad.session), String::new()),
        };
        let answer = format!("RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{headers}\r\n{body}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        if verb == "PLAY" {
            (bad.after)(&mut stream);
        }
    }
}

/// An RTP packet of H.264 in its interleaved frame.
fn packet(number: u16, time: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut rtp = vec![0x80, 96 | if marker { 0x80 } else { 0 }];
    rtp.extend(number.to_be_bytes());
    rtp.extend(time.to_be_bytes());
    rtp.extend(7u32.to_be_bytes());
    rtp.extend(payload);
    let mut frame = vec![b'$', 0];
    frame.extend(u16::try_from(rtp.len()).unwrap().to_be_bytes());
    frame.extend(rtp);
    frame
}

/// What a session with it comes to, and the units before that.
fn outcome(port: u16) -> (String, Vec<Unit>, Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let url = parse(&format!("rtsp://127.0.0.1:{port}/x?key=s3cret")).unwrap();
    let units = Arc::new(Mutex::new(Vec::new()));
    let (begun, taken) = (hil::wait::now(), units.clone());
    let address = Address { url, login: None, carrier: Carrier::Tcp };
    let played = runtime.block_on(runtime.spawn(play(address, move |unit| taken.lock().unwrap().push(unit))));
    let text = match played {
        Ok(Err(error)) => format!("{error:#}"),
        Ok(Ok(())) => panic!("it cannot end well"),
        Err(panicked) => format!("{panicked}"),
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    assert!(!text.contains("s3cret") && !text.contains('\n'), "{text}");
    let units = units.lock().unwrap().clone();
    (text, units, begun.elapsed())
}

fn good(after: After) -> Bad {
    Bad { sets: sets(320, 240), session: "1;timeout=60", after }
}

fn silence(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Bits as a sequence parameter set has them: unsigned Exp-Golomb codes (ITU-T H.264, 9.1) after the three fixed bytes.
pub fn claim(width: u32, height: u32) -> Vec<u8> {
    let mut bits = String::new();
    let mut golomb = |value: u32| {
        let code = format!("{:b}", value + 1);
        bits.push_str(&"0".repeat(code.len() - 1));
        bits.push_str(&code);
    };
    // Set 0, frame numbers of 4 bits, order type 2, one reference.
    [0, 0, 2, 1].into_iter().for_each(&mut golomb);
    bits.push('0');
    let mut golomb = |value: u32| {
        let code = format!("{:b}", value + 1);
        bits.push_str(&"0".repeat(code.len() - 1));
        bits.push_str(&code);
    };
    [width / 16 - 1, height / 16 - 1].into_iter().for_each(&mut golomb);
    // Frames only, direct 8 × 8, no cropping, no VUI, stop.
    bits.push_str("11001");
    let padding = (8 - bits.len() % 8) % 8;
    bits.push_str(&"0".repeat(padding));
    let bytes =
        bits.as_bytes().chunks(8).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap());
    [0x67, 66, 0, 30].into_iter().chain(bytes).collect()
}

#[test]
fn a_stream_that_asks_for_more_than_is_decoded_is_refused_before_it_is() {
    assert_eq!(Parameters::new(&claim(640, 368), &[0x68]).map(|p| (p.width, p.height, p.reorder)), Ok((640, 368, 0)));
    for (width, height) in [(10_000, 10_000), (4112, 64), (64, 4112), (4096, 4096)] {
        let error = Parameters::new(&claim(width, height), &[0x68]).unwrap_err();
        assert!(error.contains("4096 pixels a side") && error.contains(&width.to_string()), "{error}");
    }
    for broken in [&[][..], &[0x67], &[0x67, 66, 0, 30], &[0xFF; 40], &[0x67; 400]] {
        assert!(Parameters::new(broken, &[0x68]).is_err(), "{broken:?}");
    }
}

#[test]
fn a_camera_that_hangs_sends_garbage_or_breaks_the_protocol_is_an_error_in_its_time() {
    // Takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (text, _, time) = outcome(listener.local_addr().unwrap().port());
    assert!(text.contains("describe RTSP stream: no answer in 5s") && time < Duration::from_secs(9), "{text} {time:?}");
    // Nobody is there.
    let port = hil::process::free_tcp_port().unwrap();
    let (text, _, _) = outcome(port);
    assert!(text.contains("open RTSP stream: connect to the camera"), "{text}");
    // Headers, and nothing after them.
    let (text, units, time) = outcome(serve(good(Box::new(silence))));
    assert!(text.contains("no picture in 5s") && units.is_empty() && time < Duration::from_secs(12), "{text} {time:?}");
    // Noise instead of packets.
    let noise = |stream: &mut TcpStream| drop(stream.write_all(&[0xA5; 4096]).map(|()| silence(stream)));
    let (text, ..) = outcome(serve(good(Box::new(noise))));
    assert!(text.starts_with("read RTSP: "), "{text}");
    // A whole frame around noise, and a NAL type that RFC 6184 does not know.
    let frame =
        |stream: &mut TcpStream| drop(stream.write_all(&packet(1, 0, true, &[0x1F; 64])).map(|()| silence(stream)));
    let (text, units, _) = outcome(serve(good(Box::new(frame))));
    assert!(text.starts_with("read RTSP: ") && units.is_empty(), "{text}");
    // A session without a name makes the library panic: an error like others.
    let (text, ..) = outcome(serve(Bad { session: ";timeout=60", ..good(Box::new(silence)) }));
    assert!(text.contains("panicked") || text.contains("RTSP stream"), "{text}");
    // More than is decoded.
    let slices = |stream: &mut TcpStream| {
        drop(stream.write_all(&packet(1, 0, true, &[0x41, 0x9A, 2])).map(|()| silence(stream)))
    };
    let (text, units, _) = outcome(serve(Bad { sets: sets(10_000, 10_000), ..good(Box::new(slices)) }));
    assert!(text.contains("4096 pixels a side") && text.contains("10000×10000") && units.is_empty(), "{text}");
    // No H.264.
    let (text, ..) = outcome(serve(Bad {
        sets: format!("{}\r\na=rtpmap:96 H265/90000", sets(320, 240)),
        ..good(Box::new(silence))
    }));
    assert!(text.contains("RTSP"), "{text}");
}

#[test]
fn a_camera_that_floods_is_ended_before_it_has_taken_the_memory() {
    // One picture that never ends, as fast as loopback carries it.
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let flood = move |stream: &mut TcpStream| {
        let mut number = 0u16;
        let mut payload = vec![0x7C, 0x85];
        payload.resize(60_000, 0xAA);
        while stream.write_all(&packet(number, 0, false, &payload)).is_ok() {
            counted.fetch_add(60_000, Ordering::Relaxed);
            number = number.wrapping_add(1);
            payload[1] = 0x05;
        }
    };
    let (text, units, time) = outcome(serve(good(Box::new(flood))));
    assert!(units.is_empty() && text.starts_with("read RTSP: "), "{text}");
    assert!(time < Duration::from_secs(12), "{time:?}");
    // What was carried, and what lay in the buffers of two sockets.
    let sent = sent.load(Ordering::Relaxed) >> 20;
    assert!((4..64).contains(&sent), "{sent} MiB");
}

#[test]
fn a_stream_without_a_key_frame_gives_no_picture_and_is_counted() {
    // Slices that refer to what was never sent.
    let slices = |stream: &mut TcpStream| {
        for number in 0..2000u16 {
            let sent =
                stream.write_all(&packet(number, u32::from(number) * 3000, true, &[0x41, 0x9A, 0x02, 0x03, 0xFF]));
            if sent.is_err() {
                return;
            }
        }
    };
    let port = serve(good(Box::new(slices)));
    let camera = Playing::start(&format!("rtsp://127.0.0.1:{port}/x"));
    let (metrics, of) = (&camera.metrics, Of::new("gate"));
    hil::wait::until("units without a key frame to be counted", Duration::from_secs(20), || {
        let dropped = metrics.frames_dropped.get_or_create(&of).get();
        if dropped >= 50 { Ok(()) } else { Err(format!("{dropped}")) }
    })
    .unwrap();
    assert_eq!(metrics.frames.get_or_create(&of).get(), 0);
    assert!(camera.mailbox.take(Duration::ZERO, edge_node::clock::uptime).is_none());
    camera.stop.store(true, Ordering::Relaxed);
    camera.thread.join().unwrap();
}

#[test]
fn a_camera_whose_clock_stands_is_frozen_and_shows_nothing_until_its_clock_goes() {
    let units = encoded("64x64", "baseline", "0");
    let (sps, pps) = (units[0].parameters.sps.clone(), units[0].parameters.pps.clone());
    let sets = format!("{},{}", base64(&sps), base64(&pps));
    let sessions = AtomicU64::new(0);
    // In the first sessions the clock stands, then it goes.
    let after = move |stream: &mut TcpStream| {
        let session = sessions.fetch_add(1, Ordering::Relaxed);
        for number in 0..600u16 {
            // All thirty, then the last ten again and again: they begin with a key frame.
            let unit = &units[usize::from(if number < 30 { number } else { 20 + number % 10 })];
            let time = if session < 3 { 90_000 } else { 90_000 + u32::from(number) * 3000 };
            if stream.write_all(&packet(number, time, true, &unit.data[4..])).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(33));
        }
    };
    let port = serve(Bad { sets, session: "1;timeout=60", after: Box::new(after) });
    let camera = Playing::start(&format!("rtsp://127.0.0.1:{port}/x"));
    let (metrics, of) = (camera.metrics.clone(), Of::new("gate"));
    let frames = || metrics.frames.get_or_create(&of).get();
    let mut told = Vec::new();
    let mut before = Vec::new();
    hil::wait::until("it to be told twice", Duration::from_secs(20), || {
        for trouble in camera.mailbox.troubles().into_iter().flatten() {
            told.push(trouble);
            before.push(frames());
            // What it showed last is not there to be looked at after that.
            assert!(camera.mailbox.take(Duration::ZERO, edge_node::clock::uptime).is_none());
        }
        if told.len() >= 2 { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .unwrap();
    assert!(told.iter().all(|trouble| trouble.frozen && trouble.text.contains("stand still")), "{told:?}");
    assert!(before[0] > 0 && before[0] == before[1], "nothing is shown of the second session: {before:?}");
    hil::wait::until("it to be seen again", Duration::from_secs(20), || {
        if frames() > before[1] { Ok(()) } else { Err(frames().to_string()) }
    })
    .unwrap();
    // The first three quarters of a second of its clock, 23 pictures, are held back.
    let shown = crate::stream::number(&camera.newest.borrow().as_ref().unwrap().picture);
    assert!(shown >= 20, "picture {shown}");
    camera.end();
}
