//! The real binary on files, good and bad: clear errors with their place, and the exit codes others rely on.

use std::path::Path;
use std::process::{Command, Output};

use edge_node::journal::limits::Limits;
use edge_node::journal::writer;
use shared::event::{Payload, SensorReading};
use tempfile::TempDir;

/// Runs the binary with the models of the project.
pub fn node(arguments: &[&str]) -> Output {
    let manifest = hil::media::root().join("models/manifest.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-node"));
    command.env("PICKET_MANIFEST", manifest).args(arguments).output().unwrap()
}

/// Runs the binary, which must end with this code and say these words.
#[track_caller]
pub fn check_fails(arguments: &[&str], code: i32, words: &[&str]) {
    let done = node(arguments);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?}: expected {word:?} in: {said}");
    }
}

/// Writes a file; its path.
pub fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// A path as text.
pub fn path(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn every_command_answers_help() {
    for command in ["run", "check", "events", "outbox", "interlock", "vehicle", "detect", "models"] {
        let done = node(&[command, "--help"]);
        assert!(done.status.success(), "{command}");
        assert!(String::from_utf8_lossy(&done.stdout).contains("Usage:"), "{command}");
    }
}

/// Name of the file, its text, and what is said of it.
type Refused = (&'static str, String, Vec<&'static str>);

#[track_caller]
fn check_refused<const N: usize>(cases: [Refused; N]) {
    let folder = TempDir::new().unwrap();
    for (name, text, words) in cases {
        let file = write(&folder, name, text);
        check_fails(&["check", "--config", &file], 2, &words);
        check_fails(&["run", "--config", &file], 2, &words);
    }
}

#[test]
fn a_site_whose_interlock_would_be_no_use_is_refused() {
    let head = "node = \"n\"\ndata = \"d\"\nlisten = \"127.0.0.1:0\"\n";
    check_refused([
        (
            "fence.toml",
            format!(
                "{head}[[fence]]\nname = \"f\"\nside = \"inclusion\"\npolygon_deg = [[47,8],[47.1,8.1],[47.1,8],[47,8.1]]\n"
            ),
            vec!["fence[0].polygon_deg", "cross"],
        ),
        (
            "battery.toml",
            format!(
                "{head}[[link]]\nname = \"l\"\nurl = \"udpin:127.0.0.1:1\"\n[[vehicle]]\nname = \"v\"\nclass = \"rover\"\n\
                 sysid = 1\nlinks = [\"l\"]\nbattery = {{ return_pct = 10, land_pct = 20 }}\n"
            ),
            vec!["vehicle[0].battery", "land_pct < return_pct"],
        ),
        ("alone.toml", format!("{head}[interlock]\ntwo_person = true\n"), vec!["interlock.two_person", "two people"]),
        (
            "nobody.toml",
            format!("{head}[[person]]\nname = \"bob\"\nrole = \"operator\"\n"),
            vec!["person", "supervisor"],
        ),
        ("off.toml", format!("{head}[interlock]\noff = [\"asked\"]\n"), vec!["interlock.off", "a person asks"]),
        ("apart.toml", format!("{head}[interlock]\nseparation_m = 5\n"), vec!["origin_deg", "keep apart"]),
        ("beat.toml", format!("{head}supervisor_sysid = 245\n"), vec!["supervisor_sysid", "mavlink_sysid"]),
    ]);
}

#[test]
fn output_lines_that_are_none_and_going_on_without_a_siren_are_refused() {
    let head = "node = \"n\"\ndata = \"d\"\nlisten = \"127.0.0.1:0\"\n[[link]]\nname = \"l\"\nurl = \"udpin:127.0.0.1:1\"\n\
                [[vehicle]]\nname = \"v\"\nclass = \"rover\"\nsysid = 1\nlinks = [\"l\"]\noutputs = { light = { relay = 1 } }\n";
    let output = |pin: &str, more: &str| format!("{head}[[output]]\nname = \"o\"\npin = {pin}\n{more}\n");
    let rts = "{ serial = { port = \"/dev/ttyS1\", line = \"rts\" } }";
    let relay = |vehicle: &str, number: u8| format!("{{ relay = {{ vehicle = \"{vehicle}\", number = {number} }} }}");
    let armed = "energised_while = [\"armed\"]";
    let yard = "[model]\nname = \"m\"\nmanifest = \"x\"\n[[camera]]\nname = \"c\"\nsource = \"file:v\"\n[[zone]]\nname = \"z\"\n\
                camera = \"c\"\npolygon = [[0,0],[1,0],[1,1]]\n[[keep_out]]\nzone = \"z\"\nvehicles = [\"v\"]\nresume = \"automatic\"\n";
    check_refused([
        ("while.toml", output(rts, "energised_while = []"), vec!["output[0].energised_while", "released"]),
        ("word.toml", output(rts, "energised_while = [\"always\"]"), vec!["output", "armed", "always"]),
        ("pin.toml", output("{ serial = { port = \"x\", line = \"cts\" } }", armed), vec!["output", "rts"]),
        ("gone.toml", output(&relay("x", 0), armed), vec!["output[0].pin.relay.vehicle", "x"]),
        ("taken.toml", output(&relay("v", 1), armed), vec!["output[0].pin.relay.number", "none of the outputs of v"]),
        ("stop.toml", output(&relay("v", 0), "energised_while = [\"released\"]"), vec!["energised_while", "this box"]),
        ("whose.toml", output(rts, &format!("{armed}\nvehicles = [\"x\"]")), vec!["output[0].vehicles", "x"]),
        (
            "twice.toml",
            output(rts, &format!("{armed}\n[[output]]\nname = \"p\"\npin = {rts}\n{armed}")),
            vec!["output[1].pin", "no other output"],
        ),
        ("siren.toml", output(rts, &format!("{armed}\n{yard}")), vec!["keep_out[0].resume", "while v is resuming"]),
        ("line.toml", format!("{head}[interlock]\nline = {{ pin = 3 }}\n"), vec!["interlock.line", "port", "chip"]),
    ]);
}

#[test]
fn what_would_hide_people_from_the_interlock_and_cameras_that_are_none_are_refused() {
    let site = |model: &str, camera: &str, zone: &str, more: &str| {
        format!(
            "node = \"n\"\ndata = \"d\"\nlisten = \"127.0.0.1:0\"\n[model]\nname = \"m\"\nmanifest = \"x\"\n{model}\n\
             [[camera]]\nname = \"c\"\nsource = \"rtsp://10.0.0.9/live\"\n{camera}\n[[zone]]\nname = \"z\"\ncamera = \"c\"\n\
             polygon = [[0,0.5],[1,0.5],[1,1],[0,1]]\n{zone}\n{more}\n"
        )
    };
    let keep_out = "[[keep_out]]\nzone = \"z\"\nvehicles = []\n";
    let line = |rest: &str| format!("[[line]]\nname = \"l\"\ncamera = \"c\"\nfrom = [0.5, 0]\n{rest}\n");
    let class = "[model.classes.person]\nmin_height = 0.2";
    let inside = "masks = [[[0.1,0.8],[0.2,0.8],[0.2,0.9]]]";
    let around = "masks = [[[0,0],[1,0],[1,1],[0,1]]]";
    check_refused([
        ("gate.toml", site("", "motion = {}", "", keep_out), vec!["camera[0].motion", "zone z is a keep-out zone"]),
        ("mask.toml", site("", inside, "", keep_out), vec!["camera[0].masks", "outside of the zone"]),
        ("all.toml", site("", around, "", keep_out), vec!["camera[0].masks", "outside of the zone"]),
        (
            "corner.toml",
            site("", "masks = [[[1,0.6],[0.5,1],[1,1]]]", "", keep_out),
            vec!["camera[0].masks", "outside"],
        ),
        ("low.toml", site("", "", "min_height = 0.1", keep_out), vec!["zone[0].min_height", "none"]),
        ("score.toml", site("", "", "min_score = 0.5", keep_out), vec!["zone[0].min_score", "0.35"]),
        ("class.toml", site(class, "", "", keep_out), vec!["model.classes.person", "no min_height"]),
        (
            "library.toml",
            site("[model.onnxruntime]\nlibrary = \"/l.so\"\nsha256 = \"...\"", "", "", ""),
            vec!["model.onnxruntime.sha256", "64 hexadecimal digits"],
        ),
        ("crossed.toml", site("", "", "", &line("to = [0.5, 0]")), vec!["line[0].to", "another place"]),
        ("beyond.toml", site("", "", "", &line("to = [0.5, 2]")), vec!["line[0].to", "0 to 1"]),
        (
            "whole.toml",
            site("", "motion = { full_every = \"1m\" }", "", ""),
            vec!["camera[0].motion.full_every", "10s"],
        ),
        ("user.toml", site("", "user = \"ann\"", "", ""), vec!["camera[0].password_file", "or neither"]),
        ("seldom.toml", site("", "detect_fps = 1", "", ""), vec!["camera[0].detect_fps", "stale"]),
        ("room.toml", site("", "clip = {}", "", "[media]\nlargest_mib = 8"), vec!["camera[0].clip", "largest_mib"]),
        ("long.toml", site("", "clip = { longest = \"1s\" }", "", ""), vec!["camera[0].clip.longest", "600s"]),
        (
            "url.toml",
            site("", "clip = { source = \"rtsp://ann:s3cret@h/x\" }", "", ""),
            vec!["clip.source", "password_file"],
        ),
    ]);
}

#[test]
fn links_that_anybody_or_nobody_could_use_are_refused() {
    let head = "node = \"n\"\ndata = \"d\"\nlisten = \"127.0.0.1:0\"\n";
    let link = |url: &str, more: &str| format!("{head}[[link]]\nname = \"l\"\nurl = \"{url}\"\n{more}\n");
    let vehicle = |links: &str| {
        let link =
            link("udpin:127.0.0.1:1", "[[link]]\nname = \"q\"\nurl = \"udpin:127.0.0.1:2\"\nground_stations = {}");
        format!("{link}[[vehicle]]\nname = \"v\"\nclass = \"rover\"\nsysid = 1\nlinks = [{links}]\n")
    };
    let local = "udpin:127.0.0.1:1";
    let person = "[[person]]\nname = \"ann\"\nrole = \"supervisor\"\n";
    check_refused([
        ("open.toml", link("udpin:0.0.0.0:14550", "ground_stations = {}"), vec!["link[0].key_file", "anybody"]),
        (
            "fast.toml",
            link(local, "ground_stations = { per_second = 0 }"),
            vec!["ground_stations.per_second", "1 to 1000"],
        ),
        ("door.toml", link(local, "ground_stations = { allow = [\"arm\"] }"), vec!["ground_stations", "logs"]),
        (
            "who.toml",
            link(local, &format!("ground_stations = {{ operator = \"bob\" }}\n{person}")),
            vec!["link[0].ground_stations.operator", "bob"],
        ),
        ("radio.toml", link("serial:/dev/ttyS0:57600", "ground_stations = {}"), vec!["link[0].key_file", "radio"]),
        ("none.toml", vehicle(""), vec!["vehicle[0].links", "1 to 4"]),
        ("twice.toml", vehicle("\"l\", \"l\""), vec!["vehicle[0].links[1]", "once"]),
        ("gone.toml", vehicle("\"x\""), vec!["vehicle[0].links[0]", "(l, q)", "x"]),
        ("station.toml", vehicle("\"q\""), vec!["vehicle[0].links[0]", "ground stations", "q"]),
    ]);
}

#[test]
fn a_wrong_configuration_is_refused_with_file_key_and_expectation() {
    let head = "node = \"n\"\ndata = \"d\"\nlisten = \"127.0.0.1:0\"\n";
    let cases = [
        ("unknown.toml", format!("{head}colour = 1\n"), vec!["unknown.toml", "colour", "unknown field"]),
        ("type.toml", head.replace("\"n\"", "3"), vec!["type.toml", "node", "string"]),
        ("open.toml", head.replace("127.0.0.1", "0.0.0.0"), vec!["listen", "loopback"]),
        ("toml.toml", "node = ".into(), vec!["toml.toml", "line 1"]),
        (
            "zone.toml",
            format!("{head}[[zone]]\nname = \"z\"\ncamera = \"gone\"\npolygon = [[0,0],[1,0],[1,1]]\n"),
            vec!["zone[0].camera", "gone"],
        ),
        (
            "tie.toml",
            format!(
                "{head}model = {{ name = \"m\", manifest = \"x\" }}\n[[camera]]\nname = \"c\"\nsource = \"file:v\"\n\
                 [[zone]]\nname = \"z\"\ncamera = \"c\"\npolygon = [[0,0],[1,1],[1,0],[0,1]]\n"
            ),
            vec!["zone[0].polygon", "cross"],
        ),
        ("link.toml", format!("{head}[[link]]\nname = \"l\"\nurl = \"udp:1\"\n"), vec!["link[0].url", "udpin:"]),
        (
            "stale.toml",
            format!(
                "{head}model = {{ name = \"m\", manifest = \"x\" }}\n[[camera]]\nname = \"c\"\nsource = \"file:v\"\nstale_after = \"1h\"\n"
            ),
            vec!["camera[0].stale_after", "5s"],
        ),
        (
            "clear.toml",
            format!("{head}[[keep_out]]\nzone = \"z\"\nvehicles = []\nclear_after = \"0s\"\n"),
            vec!["keep_out[0].clear_after", "500ms"],
        ),
        ("journal.toml", format!("{head}[journal]\nsegment_mib = 0\n"), vec!["journal.segment_mib", "expected"]),
        (
            "relay.toml",
            format!("{head}[relay]\nurl = \"http://example.com\"\n"),
            vec!["relay.url", "https://HOST:PORT", "127.0.0.1"],
        ),
        (
            "slow.toml",
            format!("{head}[relay]\nurl = \"https://r:1\"\nbytes_per_second = 1\n"),
            vec!["relay.bytes_per_second", "at least 256"],
        ),
        (
            "patience.toml",
            format!("{head}[relay]\nurl = \"https://r:1\"\ntimeout = \"0s\"\n"),
            vec!["relay.timeout", "1s to 5m"],
        ),
        (
            "metered.toml",
            format!("{head}[relay]\nurl = \"https://r:1\"\nmetered = {{ interfaces = [\"a\"], lanes = [\"x\"] }}\n"),
            vec!["relay.metered.lanes", "unknown variant"],
        ),
    ];
    check_refused(cases);
    check_fails(&["check", "--config", "/nowhere/site.toml"], 2, &["/nowhere/site.toml"]);
}

#[test]
fn an_unreadable_picture_or_video_is_named_and_the_others_are_answered() {
    let Some(media) = hil::media::or_skip("an_unreadable_picture_or_video_is_named_and_the_others_are_answered") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let whole = std::fs::read(media.join("images/000000001268.jpg")).unwrap();
    let cut = write(&folder, "cut.jpg", &whole[..whole.len() / 3]);
    let noise = write(&folder, "noise.mp4", vec![0x5a; 5000]);
    let good = path(&media.join("images/000000001268.jpg"));
    let done = node(&["detect", "--model", "yolox-nano", "--json", &cut, &noise, "/nowhere.png", &good]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    for word in ["cut.jpg", "noise.mp4", "H.264", "/nowhere.png"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let answer: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(answer[&good].as_array().is_some_and(|found| !found.is_empty()), "{answer}");
}

#[test]
fn a_truncated_video_gives_its_frames_up_to_the_damage_and_the_byte() {
    let Some(media) = hil::media::or_skip("a_truncated_video_gives_its_frames_up_to_the_damage_and_the_byte") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let cut = folder.path().join("cut.mp4");
    // The index first, then half of the pictures are cut off.
    let source = media.join("one-by-one-person-detection.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-t", "4", "-i"]).arg(source);
    assert!(ffmpeg.args(["-c", "copy", "-movflags", "+faststart"]).arg(&cut).status().unwrap().success());
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).unwrap();
    let done = node(&["detect", "--model", "yolox-nano", "--json", &path(&cut)]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("cut.mp4") && said.contains("at byte"), "{said}");
    let answer: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let frames = answer[path(&cut)].as_array().map_or(0, Vec::len);
    assert!((5..40).contains(&frames), "{frames} frames");
}

#[test]
fn the_shipped_example_is_a_valid_configuration() {
    let example = hil::media::root().join("systemd/picket.toml");
    edge_node::config::Config::read(&example).unwrap();
}

#[test]
fn an_outbox_is_counted_checked_and_repaired() {
    let folder = TempDir::new().unwrap();
    let data = path(folder.path());
    let (journal, acks, thread) =
        writer::start(folder.path().to_owned(), Limits::default(), edge_node::clock::Stamp::new(), None).unwrap();
    for n in 0..500 {
        let reading = SensorReading { sensor: "s".repeat(200), value: f64::from(n), unit: "kN".into() };
        journal.record(journal.event("sensor/s", Payload::SensorReading(reading))).unwrap();
    }
    drop((journal, acks));
    thread.join();
    let ask = |verb: &str| {
        let done = node(&["outbox", verb, "--data", &data, "--json"]);
        let answer: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        (done.status.code(), answer)
    };
    let waiting = |answer: &serde_json::Value| {
        let lanes = answer["lanes"].as_array().unwrap();
        lanes.iter().find(|lane| lane["lane"] == "telemetry").unwrap()["waiting"].as_u64().unwrap()
    };
    // The lane's opening is an item, too.
    let (code, status) = ask("status");
    assert_eq!((code, waiting(&status)), (Some(0), 501), "{status}");
    assert_eq!(ask("check").0, Some(0));

    // The root page of every table, and with it all that SQLite finds its way by.
    let file = edge_node::journal::store::bulk_path(folder.path(), 1);
    let mut bytes = std::fs::read(&file).unwrap();
    for at in (4096..bytes.len()).step_by(4096) {
        bytes[at] ^= 0xFF;
    }
    std::fs::write(&file, bytes).unwrap();
    let (code, broken) = ask("check");
    assert_eq!(code, Some(1), "{broken}");
    assert!(broken["unreadable"].to_string().contains("bulk-0001.db"), "{broken}");
    let (code, repaired) = ask("repair");
    assert_eq!(code, Some(0), "{repaired}");
    assert!(repaired["rebuilt"].to_string().contains("bulk-0001.db"), "{repaired}");
    // The node's next start names what is missing.
    let (journal, acks, thread) =
        writer::start(folder.path().to_owned(), Limits::default(), edge_node::clock::Stamp::new(), None).unwrap();
    drop((journal, acks));
    thread.join();
    let (code, after) = ask("check");
    assert_eq!((code, waiting(&after)), (Some(1), 502), "{after}");
    assert!(after["unreadable"].is_null() && after.to_string().contains("\"gap\":\"damaged\""), "{after}");
    check_fails(&["outbox", "status", "--data", "/nowhere"], 1, &["/nowhere"]);
}
