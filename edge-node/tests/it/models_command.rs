//! The models' commands, and manifests that are wrong: the real binary.

use hil::drawn::render;
use tempfile::TempDir;

use crate::command_line::{check_fails, node, path, write};

#[test]
fn a_model_that_disagrees_with_its_manifest_is_refused() {
    let Some(media) = hil::media::or_skip("a_model_that_disagrees_with_its_manifest_is_refused") else { return };
    let folder = TempDir::new().unwrap();
    let weights = path(&media.join("../models/yolox_nano.onnx").canonicalize().unwrap());
    let text = std::fs::read_to_string(hil::media::root().join("models/manifest.toml")).unwrap();
    let text = text.replace("../../shared/models/yolox_nano.onnx", &weights);
    // Of the first entry.
    let text = text.split("[[model]]").take(2).collect::<Vec<_>>().join("[[model]]");
    let picture = path(&media.join("images/000000001268.jpg"));
    let with_strides =
        |strides: &str| text.replace("head = \"yolox\"", &format!("head = \"yolox\"\nstrides = {strides}"));
    let cases = [
        (
            text.replace("695e750a", "00000000"),
            1,
            vec!["yolox_nano.onnx", "expected sha256 00000000", "found 695e750a"],
        ),
        (
            text.replace("scale = 1.0 }", "scale = 1.0, layout = \"space-to-depth\" }"),
            1,
            vec!["expected input 1×12×208×208", "found 1×3×416×416"],
        ),
        (
            text.replace(", \"toothbrush\"", "").replace("columns = 85", "columns = 84"),
            1,
            vec!["expected output 1×3549×84", "found 1×3549×85"],
        ),
        (text.replace("rows = 3549", "rows = 10000000"), 2, vec!["model[0].output.rows", "3549", "10000000"]),
        (text.replace("rows = 3549", "rows = 3548"), 2, vec!["model[0].output.rows", "3549"]),
        (text.replace("head = \"yolox\"", "head = \"yoloz\""), 2, vec!["model[0].head", "yoloz"]),
        (with_strides("[8, 16, 16]"), 2, vec!["model[0].strides", "finest first", "[8, 16, 16]"]),
        (with_strides("[0, 8]"), 2, vec!["model[0].strides", "[4, 8, 16, 32]", "[0, 8]"]),
        (
            with_strides("[4]").replace("yolox\"\n", "classes\"\n"),
            2,
            vec!["model[0].strides", "a classifier has no grids"],
        ),
        (with_strides("[]"), 2, vec!["model[0].strides", "found []"]),
        (with_strides("[4, 8, 16, 32]"), 2, vec!["model[0].output.rows", "expected 14365", "found 3549"]),
        (text.replace(&weights, "gone.onnx"), 1, vec!["gone.onnx", "YOLOX"]),
    ];
    for (n, (text, code, words)) in cases.into_iter().enumerate() {
        let manifest = write(&folder, &format!("manifest{n}.toml"), text);
        check_fails(&["detect", "--model", "yolox-nano", "--manifest", &manifest, &picture], code, &words);
    }
    check_fails(&["detect", "--model", "yolo99", &picture], 1, &["yolo99", "yolox-nano"]);
}

#[test]
fn models_are_listed_verified_and_compared() {
    let folder = TempDir::new().unwrap();
    let text = std::fs::read_to_string(hil::media::root().join("models/manifest.toml")).unwrap();
    let yard = path(&hil::media::root().join("models/yard.onnx").canonicalize().unwrap());
    // Ours alone: others may lie beside the project or not.
    let ours: Vec<&str> = text.split("[[model]]").filter(|entry| entry.contains("\"yard.onnx\"")).collect();
    assert_eq!(ours.len(), 2);
    let good = ours.iter().map(|entry| format!("[[model]]{}", entry.replace("yard.onnx", &yard))).collect::<String>();
    let manifest = write(&folder, "good.toml", &good);
    let said = |arguments: &[&str]| {
        let done = node(&[&["models", "--manifest", &manifest], arguments].concat());
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {error}");
        String::from_utf8(done.stdout).unwrap()
    };
    let list = said(&["list"]);
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    let sizes: Vec<_> = lines.iter().map(|line| (line[0], line[1], line[2], line[4])).collect();
    let expected = |name, size| (name, size, "5 classes", "present");
    assert_eq!(sizes, [expected("yard", "320x192"), expected("yard-square", "320x320")], "{list}");
    assert!(lines.iter().all(|line| line[3].contains("MIT") && line[5] == yard), "{list}");
    assert_eq!(said(&["verify"]), format!("yard\tok\t{yard}\nyard-square\tok\t{yard}\n"));
    let pictures = folder.path().join("pictures");
    render(&pictures, "42", 4, &[]).unwrap();
    let images = path(&pictures.join("images"));
    let same: serde_json::Value =
        serde_json::from_str(&said(&["compare", "yard", "yard", "--pictures", &images, "--json"])).unwrap();
    let other = said(&["compare", "yard", "yard-square", "--pictures", &images, "--json"]);
    let other: serde_json::Value = serde_json::from_str(&other).unwrap();
    assert!(same["both"].as_u64() > Some(0), "{same}");
    let counts = ["pictures", "only_first", "only_second"].map(|name| same[name].as_u64());
    assert_eq!(counts, [Some(4), Some(0), Some(0)], "{same}");
    assert!(other["pictures"] == 4, "{other}");
    // One of two fails: the other is verified all the same.
    let start = good.find("sha256 = \"").unwrap() + 10;
    let bad = format!("{}00000000{}", &good[..start], &good[start + 8..]);
    let bad = write(&folder, "bad.toml", bad);
    let done = node(&["models", "--manifest", &bad, "verify"]);
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(out.contains("yard\tfailed\t") && out.contains("yard-square\tok\t"), "{out}");
    assert_eq!(done.status.code(), Some(1));
    check_fails(&["models", "--manifest", &manifest, "verify", "yard9"], 1, &["yard9", "yard-square"]);
}
