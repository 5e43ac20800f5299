//! Cameras over HTTP: pictures out of any cutting of the bytes, limits before allocation, and peers that are no cameras.

use edge_node::clock;
use edge_node::health::Of;
use edge_node::sensor::camera::multipart::{PART_MAX, Part, PartError, Parts};
use edge_node::sensor::picture;
use jpeg_encoder::{ColorType, Encoder};
use shared::units::Uptime;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::sensing::Playing;

const TYPE: &str = "multipart/x-mixed-replace; boundary=\"edge\"";

const AT: Uptime = Uptime::from_millis(7);

fn part(body: &[u8]) -> Result<Part, PartError> {
    Ok(Part { received: AT, body: body.to_vec() })
}

fn stream(with_length: bool) -> Vec<u8> {
    let mut bytes = b"preamble\r\n".to_vec();
    for body in [&b"first"[..], b"second", b"third"] {
        let length = if with_length { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        bytes.extend(format!("--edge\r\nContent-Type: image/jpeg\r\n{length}\r\n").as_bytes());
        bytes.extend(body);
        bytes.extend(if with_length { &b"\r\n"[..] } else { b"" });
    }
    bytes.extend(b"--edge");
    bytes
}

#[test]
fn parts_come_whole_however_the_stream_is_cut() {
    for with_length in [true, false] {
        for size in [1, 2, 7, 1000] {
            let mut parts = Parts::new(TYPE).unwrap();
            let got: Vec<_> = stream(with_length).chunks(size).flat_map(|bytes| parts.push(bytes, AT)).collect();
            let expected: Vec<Result<Part, PartError>> = [&b"first"[..], b"second", b"third"].map(part).into();
            assert_eq!(got, expected, "length header {with_length}, cut by {size}");
        }
    }
}

#[test]
fn a_huge_part_is_refused_with_its_place_and_the_next_one_is_given() {
    let mut parts = Parts::new(TYPE).unwrap();
    let huge = format!("--edge\r\nContent-Length: {}\r\n\r\n", PART_MAX + 1);
    assert_eq!(parts.push(huge.as_bytes(), AT), [Err(PartError::TooLarge { at: 0 })]);
    assert_eq!(parts.push(b"--edge\r\nContent-Length: 2\r\n\r\nok", AT), [part(b"ok")]);
    assert!(Parts::new("text/html").is_err());
    assert!(Parts::new("multipart/x-mixed-replace").is_err());
}

#[test]
fn a_jpeg_without_a_length_is_there_when_its_last_byte_is_and_not_when_the_next_one_comes() {
    // With a picture inside the picture, as cameras put it into a segment of its own.
    let (own, inner) = (jpeg((64, 48), 90, false), jpeg((16, 16), 10, false));
    let length = u16::try_from(inner.len() + 2).unwrap().to_be_bytes();
    let whole = [&own[..2], &[0xFF, 0xE1], &length, &inner, &own[2..]].concat();
    assert!(picture::decode(&whole, "x").is_ok());
    for size in [1, 7, 100_000] {
        let mut parts = Parts::new(TYPE).unwrap();
        let head = parts.push(b"--edge\r\n\r\n", AT);
        assert!(head.is_empty());
        let got: Vec<_> = whole.chunks(size).flat_map(|piece| parts.push(piece, AT)).collect();
        assert_eq!(got, [part(&whole)], "in pieces of {size}");
        // One that was cut off ends where the next begins; that one is whole.
        let cut = [b"\r\n--edge\r\n\r\n", &own[..own.len() / 2], b"\r\n--edge\r\n\r\n", &own].concat();
        let got: Vec<_> = cut.chunks(size).flat_map(|piece| parts.push(piece, AT)).flatten().collect();
        assert_eq!((got.len(), &got[1].body), (2, &own), "in pieces of {size}");
    }
}

#[test]
fn a_picture_is_as_old_as_the_first_byte_of_it() {
    let at = Uptime::from_millis;
    for length in ["", "Content-Length: 4\r\n"] {
        let mut parts = Parts::new(TYPE).unwrap();
        // Headers that came with the picture before say nothing about this one.
        assert!(parts.push(format!("--edge\r\n{length}\r\n").as_bytes(), at(1)).is_empty());
        assert!(parts.push(b"pi", at(1000)).is_empty());
        let got = parts.push(b"ct--edge\r\n\r\nother--edge", at(1100));
        let expected = [(1000, &b"pict"[..]), (1100, b"other")];
        let expected = expected.map(|(ms, body)| Ok(Part { received: at(ms), body: body.to_vec() }));
        assert_eq!(got, expected, "{length:?}");
    }
}

#[test]
fn what_a_stream_sends_in_small_pieces_is_not_searched_anew_with_each() {
    let begun = hil::wait::now();
    let (mut parts, body) = (Parts::new(TYPE).unwrap(), vec![0xAB; 6 * 1024 * 1024]);
    let mut got = parts.push(b"--edge\r\n\r\n", AT);
    body.chunks(256).for_each(|piece| got.extend(parts.push(piece, AT)));
    got.extend(parts.push(b"--edge", AT));
    // And a thousand parts in each piece.
    for _ in 0..1000 {
        let piece = b"\r\n\r\nx--edge".repeat(1000);
        assert_eq!(parts.push(&piece, AT).len(), 1000);
    }
    assert!(got == [part(&body)]);
    // A boundary everywhere, and no end of headers.
    let mut parts = Parts::new("multipart/x-mixed-replace; boundary=x").unwrap();
    let refused = parts.push(&b"--x".repeat(1_000_000), AT).len();
    assert!((360..400).contains(&refused), "one in eight kilobytes: {refused}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

fn jpeg(size: (u16, u16), shade: u8, progressive: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_progressive(progressive);
    let grey = vec![shade; usize::from(size.0) * usize::from(size.1) * 3];
    encoder.encode(&grey, size.0, size.1, ColorType::Rgb).unwrap();
    bytes
}

/// The same JPEG, which says that it has another size.
fn claims(jpeg: Vec<u8>, size: (u16, u16)) -> Vec<u8> {
    hil::media::claims(jpeg, size).unwrap()
}

/// CRC-32 of a PNG's chunk (ISO/IEC 15948, annex D).
fn crc(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused_before_it_is_made() {
    let mut png = Vec::new();
    let grey = image::RgbImage::new(4, 4);
    grey.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
    assert!(picture::decode(&png, "x").is_ok());
    for side in [4000u32, 8000, 0x7FFF_FFFF] {
        // Width and height are behind the signature, the chunk's length and its name.
        png[16..20].copy_from_slice(&side.to_be_bytes());
        png[20..24].copy_from_slice(&side.to_be_bytes());
        let sum = crc(&png[12..29]);
        png[29..33].copy_from_slice(&sum.to_be_bytes());
        let error = picture::decode(&png, "bomb.png").unwrap_err().to_string();
        let why = [&format!("it has {side} × {side}")[..], "limit", "Limit"];
        assert!(error.contains("bomb.png") && why.iter().any(|why| error.contains(why)), "{error}");
    }
}

#[test]
fn a_jpeg_that_would_take_memory_or_time_without_end_is_refused_before_it_is_decoded() {
    let small = || jpeg((64, 48), 90, false);
    assert!(picture::decode(&small(), "x").is_ok());
    for (width, height) in [(8000, 8000), (4097, 3072), (65500, 16)] {
        let error = picture::decode(&claims(small(), (width, height)), "bomb.jpg").unwrap_err().to_string();
        let why = [format!("it has {width} × {height}"), "limit".into()];
        assert!(error.contains("bomb.jpg") && why.iter().any(|why| error.contains(why)), "{error}");
    }
    assert!(picture::decode(&jpeg((4096, 3072), 90, false), "x").is_ok());
    // A scan of few bytes is a pass over the whole picture.
    for progressive in [true, false] {
        let whole = jpeg((64, 48), 90, progressive);
        assert!(picture::decode(&whole, "x").is_ok());
        let scan = whole.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
        let (head, last) = whole.split_at(scan);
        let bomb = [head, &last[..last.len() - 2].repeat(100), &[0xFF, 0xD9]].concat();
        let error = picture::decode(&bomb, "bomb.jpg").unwrap_err().to_string();
        assert!(error.contains("scans, the limit is 64"), "{error}");
    }
}

#[test]
fn what_is_no_file_is_no_picture_and_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("a.jpg");
    hil::process::output(Command::new("mkfifo").arg(&pipe)).unwrap();
    assert!(picture::read(&pipe).unwrap_err().to_string().contains("expected a file"));
    let large = folder.path().join("b.jpg");
    std::fs::File::create(&large).unwrap().set_len(1 << 40).unwrap();
    assert!(picture::read(&large).unwrap_err().to_string().contains("bytes"));
}

/// A camera that sends 30 large pictures at once, the last one white, then nothing until the sender is dropped.
fn bursting_camera() -> (u16, Sender<()>) {
    let (black, white) = (jpeg((1920, 1080), 0, false), jpeg((1920, 1080), 255, false));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (close, closed) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "no request came");
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\n\r\n").into_bytes();
        for number in 0..30 {
            let body = if number == 29 { &white } else { &black };
            bytes.extend(format!("--edge\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend(body);
        }
        stream.write_all(&bytes).unwrap();
        let _ = closed.recv();
    });
    (port, close)
}

#[test]
fn a_camera_faster_than_its_decoder_shows_the_newest_picture_and_not_a_backlog() {
    let (port, close) = bursting_camera();
    let camera = Playing::start(&format!("mjpeg:http://127.0.0.1:{port}/"));
    let (metrics, of) = (&camera.metrics, Of::new("gate"));
    hil::wait::until("30 pictures to be shown or dropped", Duration::from_secs(20), || {
        let (shown, dropped) =
            (metrics.frames.get_or_create(&of).get(), metrics.frames_dropped.get_or_create(&of).get());
        if shown + dropped == 30 && dropped > 0 { Ok(()) } else { Err(format!("{shown} shown, {dropped} dropped")) }
    })
    .unwrap();
    let (frame, _) = camera.mailbox.take(Duration::ZERO, clock::uptime).unwrap();
    assert!(frame.picture.to_rgb().iter().all(|value| *value > 250), "the newest picture is white");
    camera.stop.store(true, Ordering::Relaxed);
    drop(close);
    camera.end();
}

/// What a peer says to a request.
type Says = fn(&mut TcpStream);

fn head(stream: &mut TcpStream) -> bool {
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\n\r\n").as_bytes()).is_ok()
}

fn silence(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// One after the other, and what is said of each; the last one is a camera.
const PEERS: [(Says, &str); 7] = [
    (|stream| drop(stream.write_all(b"\0\x01garbage\r\n\r\n")), "open MJPEG stream"),
    (|stream| drop(stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")), "401"),
    (
        |stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n")),
        "expected multipart/x-mixed-replace",
    ),
    (|stream| assert!(head(stream)), "the camera closed the stream"),
    (
        // Nothing comes behind the headers.
        |stream| {
            head(stream);
            silence(stream);
        },
        "read MJPEG",
    ),
    (
        |stream| {
            head(stream);
            let part = [b"--edge\r\nContent-Length: 1000000\r\n\r\n", &vec![0; 1_000_000][..]].concat();
            while stream.write_all(&part).is_ok() {}
        },
        "bytes a second",
    ),
    (
        |stream| {
            head(stream);
            let good = jpeg((64, 48), 90, false);
            // Pictures that are none, and that claim to be huge, among good ones, for as long as anybody looks.
            let bodies = [b"no picture".to_vec(), claims(good.clone(), (8000, 8000)), good];
            for body in bodies.iter().cycle() {
                let head = format!("--edge\r\nContent-Length: {}\r\n\r\n", body.len());
                if stream.write_all(&[head.as_bytes(), body].concat()).is_err() {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
        },
        "",
    ),
];

#[test]
fn peers_that_are_no_cameras_are_errors_that_are_counted_and_told_and_the_camera_behind_them_is_seen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (says, _) in PEERS {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "no request came");
            says(&mut stream);
        }
    });
    let camera = Playing::start(&format!("mjpeg:http://ann:s3cret@127.0.0.1:{port}/?key=s3cret"));
    let mut told = Vec::new();
    hil::wait::until("each to be told", Duration::from_secs(60), || {
        told.extend(camera.mailbox.troubles().into_iter().flatten().map(|trouble| trouble.text));
        if told.len() + 1 >= PEERS.len() { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .unwrap();
    for ((_, expected), told) in PEERS.iter().zip(&told) {
        assert!(told.contains(expected) && !told.contains("s3cret"), "{told:?}, expected {expected}");
    }
    let (metrics, of) = (&camera.metrics, Of::new("gate"));
    assert_eq!(metrics.sessions_failed.get_or_create(&of).get(), PEERS.len() as u64 - 1);
    hil::wait::until("bad pictures to be counted, and good ones seen", Duration::from_secs(20), || {
        let (bad, seen) = (metrics.frames_bad.get_or_create(&of).get(), metrics.frames.get_or_create(&of).get());
        if bad >= 4 && seen >= 2 { Ok(()) } else { Err(format!("{bad} bad, {seen} seen")) }
    })
    .unwrap();
    assert!(camera.mailbox.troubles().iter().all(Option::is_none), "nothing is wrong with it any more");
    camera.end();
}

#[test]
fn what_is_beyond_the_rate_of_the_detector_is_shown_to_people_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..4 {
        std::fs::write(folder.path().join(format!("{n}.jpg")), jpeg((64, 48), 40 * n, false)).unwrap();
    }
    let begun = hil::wait::now();
    let more = "repeat = true\nperiod = \"20ms\"\ndetect_fps = 5";
    let camera = Playing::with(&format!("folder:{}", folder.path().display()), more);
    let (metrics, of) = (camera.metrics.clone(), Of::new("gate"));
    hil::wait::until("frames to be skipped", Duration::from_secs(20), || {
        let skipped = metrics.frames_skipped.get_or_create(&of).get();
        if skipped >= 60 { Ok(()) } else { Err(skipped.to_string()) }
    })
    .unwrap();
    let newest = camera.newest.clone();
    camera.end();
    let (taken, skipped) = (metrics.frames.get_or_create(&of).get(), metrics.frames_skipped.get_or_create(&of).get());
    assert_eq!(newest.borrow().as_ref().unwrap().number + 1, taken + skipped, "all are shown");
    // A tenth earlier is in time: cameras are no clocks.
    let most = 1.0 + begun.elapsed().as_secs_f64() * 5.0 / 0.9;
    assert!(taken >= 2 && taken as f64 <= most, "{taken} taken, {skipped} not, {most} at most");
}
