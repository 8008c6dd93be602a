//! Keeps the house in order: which way imports point, what a file is called, how it opens, how long it grows.
//!
//! Every fault is a sentence that says what to do instead. The checker is itself tested on small made-up
//! houses, below. It does not replace the compiler or clippy: `clippy.toml` bans what can be banned there.

#[path = "house/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// A file may grow to this many lines before it must have two subjects. The guide is 350.
const MAX_LINES: usize = 450;
/// Names that say nothing about what is inside.
const VAGUE: [&str; 7] = ["utils", "common", "helpers", "core", "types", "misc", "manager"];
/// What may lie at the top of the repository, beside dot-files and what git ignores.
const TOP: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "benches",
    "clippy.toml",
    "config",
    "deploy",
    "rustfmt.toml",
    "src",
    "tests",
];
/// Unfinished work, in code.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// Unfinished work, also in comments; spelled so that this file is not at fault itself.
const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

#[test]
fn the_house_is_in_order() {
    let faults = faults(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(faults.is_empty(), "\n\n{}\n", faults.join("\n\n"));
}

/// A Rust file of the repository.
struct File {
    /// From the root of the repository.
    path: PathBuf,
    text: String,
}

impl File {
    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The top-level module that it belongs to.
    fn room(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src").ok()?;
        Path::new(below.components().next()?.as_os_str()).file_stem()?.to_str()
    }

    fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
    }
}

/// Everything that is out of order, as sentences.
fn faults(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(root, Path::new(folder), &mut files);
    }
    let mut faults = strangers(root);
    faults.extend(files.iter().flat_map(form));
    match files.iter().find(|file| file.path == Path::new("src/lib.rs")) {
        Some(lib) => {
            let floors = floors(&lib.text);
            faults.extend(files.iter().flat_map(|file| upstairs(file, &floors)));
        }
        None => faults.push("src/lib.rs is missing: it is the map of the house.".to_owned()),
    }
    faults
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    let mut names: Vec<_> = entries.map(|entry| entry.expect("the folder is readable").file_name()).collect();
    names.sort();
    for name in names {
        let path = folder.join(name);
        if root.join(&path).is_dir() {
            // What a tool built is not ours.
            if path.ends_with("target") || path.ends_with("node_modules") {
                continue;
            }
            collect(root, &path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(root.join(&path)).expect("source is UTF-8");
            files.push(File { path, text });
        }
    }
}

/// Things at the top of the repository that belong elsewhere.
fn strangers(root: &Path) -> Vec<String> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let entries = fs::read_dir(root).expect("the repository is readable");
    let names = entries.map(|entry| entry.expect("and so is its folder").file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names.retain(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()));
    names.retain(|name| !ignored.lines().any(|line| line.trim_matches('/') == name));
    let fault = |name: &String| {
        format!(
            "{name} lies at the top of the repository. Put examples into config/, what runs a gateway into \
             deploy/, tools into a dot-folder; the top holds only {}.",
            TOP.join(", ")
        )
    };
    names.iter().map(fault).collect()
}

/// A file's name, opening, length and leftovers.
fn form(file: &File) -> Vec<String> {
    let path = file.path.display();
    let mut faults = Vec::new();
    for part in file.path.iter().filter_map(|part| Path::new(part).file_stem()?.to_str()) {
        if VAGUE.contains(&part) {
            faults.push(format!(
                "{path}: `{part}` could hold anything. Name it after what it does, or move each \
                                 thing to the room that uses it."
            ));
        }
    }
    if !file.text.starts_with("//!") {
        faults.push(format!(
            "{path} does not open with `//!`. Say in two to ten lines what it is, what it \
                             promises and what it deliberately does not do."
        ));
    }
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        faults.push(format!(
            "{path} has {lines} lines. Find its second subject and give that a file of its own \
                             (100 to 350 lines; {MAX_LINES} is the end)."
        ));
    }
    let code = source::code(&file.text);
    for name in UNFINISHED.iter().filter(|name| source::has_word(&code, &format!("{name}!"))) {
        faults.push(format!("{path} holds `{name}!`. Finish it, or leave out what is not finished."));
    }
    for note in NOTES.iter().filter(|note| source::has_word(&file.text, note)) {
        faults.push(format!(
            "{path} holds a {note}. Do it now, or open an issue and say there what is missing."
        ));
    }
    if file.is_in("src") && source::has_word(&code, "unsafe") {
        faults.push(format!(
            "{path} holds `unsafe`. Use a crate whose whole work is that unsafety (rustix, \
                             socket2); this one forbids it."
        ));
    }
    faults
}

/// The modules in the order of `lib.rs`, highest floor first.
fn floors(lib: &str) -> Vec<String> {
    let code = source::without_tests(&source::code(lib));
    let module = |line: &str| {
        let line = line.trim();
        let name = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')?;
        Some(name.trim().to_owned())
    };
    code.lines().filter_map(module).collect()
}

/// Imports of `file` that point up the stairs.
fn upstairs(file: &File, floors: &[String]) -> Vec<String> {
    let floor = |name: &str| floors.iter().position(|floor| floor == name);
    let Some(room) = file.room().filter(|_| !file.is_test()) else { return Vec::new() };
    // The binary and the map stand above everything.
    let Some(here) = floor(room) else { return Vec::new() };
    let code = source::without_tests(&source::code(&file.text));
    // So many `super::` lead out of the room: another way to write `crate::`.
    let out = "super::".repeat(file.path.components().count() - 1);
    let mut above = source::crate_paths(&code.replace(&out, "crate::"));
    above.retain(|name| floor(name).is_some_and(|there| there < here));
    above.sort();
    above.dedup();
    let path = file.path.display();
    let fault = |name: &String| {
        format!(
            "{path} imports crate::{name}, which stands above {room}. A room knows only what is below it: let \
             {name} hand in what {room} needs (a value, a trait that {room} declares, a closure), or move the \
             shared thing down to the lowest room that needs it."
        )
    };
    above.iter().map(fault).collect()
}

mod made_up_houses {
    use super::*;

    /// A house with two rooms, `attic` above `cellar`, and whatever else `files` puts into it.
    fn house(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder of its own");
        let lib = ("src/lib.rs", "//! A house.\npub mod attic;\npub mod cellar;\n");
        for (path, text) in [lib, (".gitignore", "/target\n")].iter().chain(files) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a file has a folder")).expect("created");
            fs::write(path, text).expect("written");
        }
        faults(folder.path())
    }

    #[track_caller]
    fn assert_one_fault(files: &[(&str, &str)], part: &str) {
        let faults = house(files);
        assert!(matches!(faults.as_slice(), [fault] if fault.contains(part)), "{part:?} not in {faults:#?}");
    }

    #[test]
    fn a_tidy_house_has_no_fault() {
        let attic = "//! Above.\nuse crate::cellar::Wine;\nuse crate::attic::Trunk;\n";
        let files = [("src/attic.rs", attic), ("target/debug", ""), ("README.md", "")];
        assert_eq!(house(&files), Vec::<String>::new());
    }

    #[test]
    fn an_import_from_above_is_named_in_every_spelling() {
        for import in [
            "use crate::attic::Trunk;",
            "use crate::{cellar::Wine, attic::{A, B}};",
            "pub(crate) fn f() -> crate::attic::Trunk { g() }",
            "use super::super::attic::Trunk;",
            "#[cfg(test)]\nmod tests { fn f() { {} } }\nuse crate::attic;",
            "const QUOTE: char = '\"'; use crate::attic; const AGAIN: char = '\"';",
            "fn f<'a>(x: &'a str) -> &'a str { crate::attic::g(x) }",
        ] {
            let cellar = format!("//! Below.\n{import}\n");
            assert_one_fault(&[("src/cellar/shelf.rs", &cellar)], "imports crate::attic");
        }
    }

    #[test]
    fn what_only_looks_like_an_import_is_no_fault() {
        for import in [
            "// use crate::attic;",
            "/* /* crate::attic */ crate::attic */",
            "const S: &str = \"crate::attic \\\" crate::attic\";",
            "const S: &str = r#\"crate::attic \" crate::attic\"#;",
            "#[cfg(test)]\nmod tests {\n    use crate::attic::Trunk;\n}",
            "macro_rules! m { () => { $crate::attic } }",
            "use other_crate::attic;",
            "use self::attic::Trunk;",
        ] {
            let cellar = format!("//! Below.\n{import}\n");
            assert_eq!(house(&[("src/cellar.rs", &cellar)]), Vec::<String>::new(), "{import}");
        }
    }

    #[test]
    fn tests_in_a_file_of_their_own_may_look_upstairs() {
        assert_eq!(house(&[("src/cellar/tests.rs", "//! T.\nuse crate::attic;\n")]), Vec::<String>::new());
    }

    #[test]
    fn vague_names_are_refused_for_files_and_folders() {
        assert_one_fault(&[("src/cellar/utils.rs", "//! X.\n")], "`utils` could hold anything");
        assert_one_fault(&[("tests/it/helpers/x.rs", "//! X.\n")], "`helpers` could hold anything");
    }

    #[test]
    fn a_file_says_first_what_it_is() {
        assert_one_fault(&[("src/cellar.rs", "pub struct Wine;\n")], "does not open with `//!`");
    }

    #[test]
    fn a_file_ends_before_its_second_subject() {
        let long = |lines: usize| format!("//! Long.\n{}", "//\n".repeat(lines - 1));
        assert_eq!(house(&[("src/cellar.rs", &long(MAX_LINES))]), Vec::<String>::new());
        assert_one_fault(&[("src/cellar.rs", &long(MAX_LINES + 1))], "has 451 lines");
    }

    #[test]
    fn leftovers_are_refused() {
        for (line, part) in [
            ("fn f() { todo!() }", "`todo!`"),
            ("fn f() { dbg!(1); }", "`dbg!`"),
            (concat!("// TO", "DO: later"), "holds a"),
            (concat!("/// FIX", "ME"), "holds a"),
            ("fn f() { unsafe { g() } }", "`unsafe`"),
        ] {
            assert_one_fault(&[("src/cellar.rs", &format!("//! X.\n{line}\n"))], part);
        }
        let harmless = "//! X.\n#![forbid(unsafe_code)]\n// an unsafe thing, and a mastodon\nconst S: &str = \"unsafe\";\n";
        assert_eq!(house(&[("src/cellar.rs", harmless)]), Vec::<String>::new());
    }

    #[test]
    fn strangers_at_the_top_are_shown_out() {
        assert_one_fault(&[("notes.txt", "")], "notes.txt lies at the top");
        assert_one_fault(&[("scripts/x.sh", "")], "scripts lies at the top");
    }

    #[test]
    fn a_house_without_a_map_is_a_fault() {
        let empty = tempfile::tempdir().expect("a folder of its own");
        assert!(faults(empty.path())[0].starts_with("src/lib.rs is missing"));
    }
}
