//! ONNX Runtime instead of tract: its real library, our own models.

use std::path::{Path, PathBuf};
use std::process::Command;

use edge_node::detect::Detection;
use edge_node::detect::head::iou;
use edge_node::detect::manifest::{Entry, Manifest, sha256};
use edge_node::detect::model::Model;
use edge_node::detect::network::LibraryConfig;
use edge_node::detect::runtime::Runtime;
use edge_node::sensor::frame::Picture;
use edge_node::sensor::picture;
use hil::process::output;
use hil::python::onnxruntime;

fn library() -> LibraryConfig {
    let (library, sha256) = onnxruntime().unwrap();
    LibraryConfig { library, sha256 }
}

fn entry(name: &str) -> (Entry, PathBuf) {
    Manifest::read(&hil::media::root().join("models/manifest.toml")).unwrap().find(name).unwrap()
}

/// Scenes with people, cars and drones in them.
fn scenes() -> Vec<Picture> {
    let folder = tempfile::tempdir().unwrap();
    hil::drawn::render(folder.path(), "3000000", 12, &[]).unwrap();
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path().join("images")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| picture::read(file).unwrap()).collect()
}

fn same(ours: &[Detection], theirs: &[Detection]) -> bool {
    ours.len() == theirs.len()
        && ours.iter().all(|a| {
            theirs.iter().any(|b| {
                a.class == b.class && (a.score - b.score).abs() < 0.002 && iou(&a.box_xyxy_px, &b.box_xyxy_px) > 0.98
            })
        })
}

#[test]
fn onnx_runtime_finds_what_tract_finds_on_as_many_threads_as_look() {
    let runtime = Runtime::new(Some(&library())).unwrap();
    let load = |runtime: &Runtime, name: &str| {
        let (entry, file) = entry(name);
        Model::load(runtime, entry, &file).unwrap()
    };
    let (mut ours, theirs) = (load(&Runtime::Tract, "yard"), load(&runtime, "yard"));
    let scenes = scenes();
    let expected: Vec<_> = scenes.iter().map(|scene| ours.detect(scene, 0.3).unwrap()).collect();
    assert!(expected.iter().map(Vec::len).sum::<usize>() > 12, "{expected:?}");
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let mut theirs = theirs.again();
                for (scene, expected) in scenes.iter().zip(&expected) {
                    let found = theirs.detect(scene, 0.3).unwrap();
                    assert!(same(expected, &found), "{expected:?}\n{found:?}");
                }
            });
        }
    });
    let (mut ours, mut theirs) = (load(&Runtime::Tract, "posture"), load(&runtime, "posture"));
    let crop = scenes[0].part((0, 0, 64, 96)).unwrap();
    let pairs = ours.classify(&crop).unwrap().into_iter().zip(theirs.classify(&crop).unwrap());
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-3));
}

#[test]
fn a_library_that_is_not_the_one_that_is_meant_is_not_loaded_and_a_model_that_is_none_is_refused() {
    let right = library();
    let said = refused(&right.library, &"0".repeat(64));
    assert!(said.contains("libonnxruntime.so") && said.contains("expected sha256 00000"), "{said}");
    let runtime = Runtime::new(Some(&right)).unwrap();
    let another = LibraryConfig { sha256: "0".repeat(64), ..right };
    let said = Runtime::new(Some(&another)).unwrap_err().to_string();
    assert!(said.contains("model.onnxruntime") && said.contains("in use since the start"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("yard.onnx");
    let (entry, own) = entry("yard");
    let load = |bytes: &[u8], change: fn(&mut Entry)| {
        std::fs::write(&file, bytes).unwrap();
        let mut entry = Entry { sha256: sha256(bytes), ..entry.clone() };
        change(&mut entry);
        Model::load(&runtime, entry, &file).map(drop).unwrap_err().to_string()
    };
    let own = std::fs::read(own).unwrap();
    let said = load(b"no network", |_| {});
    assert!(said.starts_with("model yard: "), "{said}");
    let said = load(&own[..own.len() / 2], |_| {});
    assert!(said.starts_with("model yard: "), "{said}");
    // Three planes where the file wants twelve; six columns where it gives ten.
    let said = load(&own, |entry| entry.input.layout = edge_node::detect::manifest::Layout::Planes);
    assert!(said.contains("expected input 1×3×192×320, found -1×12×-1×-1") || said.contains("found 1×12"), "{said}");
    let said = load(&own, |entry| entry.output.columns = 6);
    assert!(said.contains("expected output 1×5100×6, found 1×5100×10"), "{said}");
}

/// What a program says that is to use a library, and ends with an error.
fn refused(library: &Path, sha256: &str) -> String {
    let mut command = Command::new(hil::binaries::built().unwrap().join("edge-node"));
    command.args(["detect", "--model", "yard", "--onnxruntime-sha256", sha256, "--manifest"]);
    command.arg(hil::media::root().join("models/manifest.toml")).arg("--onnxruntime").arg(library).arg("none.jpg");
    let ended = command.output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

#[test]
fn what_is_no_library_is_refused_by_a_program_that_goes_on_to_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libonnxruntime.so");
    std::fs::write(&file, "no library").unwrap();
    assert!(refused(&file, &sha256(b"no library")).contains("libonnxruntime.so"));
    // A library, but another one.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let other = maps.split_whitespace().find(|word| word.contains("/libm.so")).map(Path::new).unwrap();
    let said = refused(other, &sha256(&std::fs::read(other).unwrap()));
    assert!(said.contains("OrtGetApiBase"), "{said}");
    assert!(refused(folder.path(), &"0".repeat(64)).contains("regular file"));
    assert!(refused(&folder.path().join("none"), &"0".repeat(64)).contains("No such file"));
}

#[test]
fn models_are_verified_with_the_library_that_runs_them() {
    let (library, hash) = onnxruntime().unwrap();
    let mut command = Command::new(hil::binaries::built().unwrap().join("edge-node"));
    command.args(["models", "verify", "yard", "posture", "--onnxruntime-sha256", &hash, "--onnxruntime"]).arg(library);
    let said = output(command.arg("--manifest").arg(hil::media::root().join("models/manifest.toml"))).unwrap();
    assert_eq!(said.lines().filter(|line| line.contains("\tok\t")).count(), 2, "{said}");
}
