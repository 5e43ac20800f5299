//! The shape of the tree: what STYLE asks for and a machine can see. A rule that is not run is a wish.

use std::fs;
use std::path::{Path, PathBuf};

use hil::media::root;

const CRATES: [&str; 6] = ["shared", "edge-node", "edge-node/kernels", "cloud-relay", "sim", "hil"];
const LINES_MAX: usize = 400;
/// Words that name nothing.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "misc", "manager"];
/// The top level, fixed by ARCHITECTURE.md; files that begin with a dot come beside it.
const TOP: [&str; 16] = [
    "Cargo.toml",
    "Cargo.lock",
    "edge-node",
    "cloud-relay",
    "shared",
    "models",
    "hil",
    "sim",
    "yocto",
    "systemd",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "dev",
];
/// What convention demands beside it.
const BESIDE: [&str; 4] = ["clippy.toml", "rustfmt.toml", "compose.yaml", "target"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn modules(lib: &Path) -> Vec<String> {
    let text = fs::read_to_string(lib).unwrap();
    let module = |line: &str| {
        Some(line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    let names = text.lines().filter_map(module);
    names.collect()
}

#[test]
fn the_top_level_is_the_one_of_the_architecture() {
    let names: Vec<String> =
        fs::read_dir(root()).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    for wanted in TOP {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is missing");
    }
    for name in names.iter().filter(|name| !name.starts_with('.')) {
        assert!(TOP.contains(&name.as_str()) || BESIDE.contains(&name.as_str()), "{name} is not of the top level");
    }
}

#[test]
fn files_are_short_named_after_things_and_say_what_they_own() {
    for path in
        CRATES.iter().flat_map(|c| [root().join(c).join("src"), root().join(c).join("tests")]).flat_map(|f| sources(&f))
    {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.lines().count() <= LINES_MAX,
            "{}: {} lines, at most {LINES_MAX}",
            path.display(),
            text.lines().count()
        );
        assert!(text.starts_with("//!"), "{}: does not open with a module comment", path.display());
        let name = path.file_stem().unwrap().to_string_lossy();
        assert!(!EMPTY_NAMES.contains(&name.as_ref()), "{}: name the concept", path.display());
    }
}

#[test]
fn a_module_imports_only_from_modules_above_it() {
    for name in CRATES {
        let source = root().join(name).join("src");
        let order = modules(&source.join("lib.rs"));
        assert!(!order.is_empty(), "{name}/src/lib.rs declares no module");
        for path in sources(&source) {
            let inner = path.strip_prefix(&source).unwrap();
            let own = inner.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
            let Some(place) = order.iter().position(|module| *module == own) else { continue };
            let text = fs::read_to_string(&path).unwrap();
            for part in text.split("crate::").skip(1) {
                let groups = part.strip_prefix('{').map(|rest| rest.split('}').next().unwrap_or_default());
                let firsts: Vec<String> = match groups {
                    Some(group) => group.split(',').map(first_word).collect(),
                    None => vec![first_word(part)],
                };
                for used in firsts.iter().filter_map(|used| order.iter().position(|module| module == used)) {
                    let used_name = &order[used];
                    assert!(used <= place, "{}: {own} imports {used_name}, which stands below it", path.display());
                }
            }
        }
    }
}

fn first_word(text: &str) -> String {
    text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn the_products_are_coupled_by_shared_alone() {
    let dependencies = |name: &str| {
        let text = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let own = text.split("[dependencies]").nth(1).unwrap().split("[dev-dependencies]").next().unwrap().to_owned();
        let names = CRATES.iter().filter_map(|path| path.rsplit('/').next());
        names.filter(|c| own.contains(&format!("\n{c}.workspace"))).collect::<Vec<_>>()
    };
    assert!(dependencies("shared").is_empty());
    assert_eq!(dependencies("edge-node"), ["shared", "kernels"]);
    for product in ["cloud-relay", "sim"] {
        assert_eq!(dependencies(product), ["shared"], "{product}");
    }
    let kernels = fs::read_to_string(root().join("edge-node/kernels/Cargo.toml")).unwrap();
    assert!(!kernels.contains("dependencies]"), "kernels are loops over slices");
    assert_eq!(dependencies("hil"), ["shared", "sim"]);
}
