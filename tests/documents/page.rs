//! The page that is inside the binary is the one whose sources lie beside it, as far as their stamp tells without node.

use super::{read, root};
use aws_lc_rs::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every file below `folder` but those in `left_out`, by its path from there with `/` in it, in byte order.
fn files_of(folder: &Path, left_out: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let entries =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("and readable"));
    let mut files = BTreeMap::new();
    for entry in entries {
        let (name, path) = (entry.file_name().into_string().expect("UTF-8"), entry.path());
        if !path.is_dir() {
            files.insert(name, fs::read(path).expect("a file"));
        } else if !left_out.contains(&&*name) {
            files.extend(
                files_of(&path, &[]).into_iter().map(|(below, text)| (format!("{name}/{below}"), text)),
            );
        }
    }
    files
}

#[test]
fn the_page_in_the_binary_was_built_from_its_sources() {
    let mut hash = Context::new(&SHA256);
    // As `stamp.mjs` beside them has it, which the build of the page runs.
    for (path, content) in files_of(&root().join("src/admin/dashboard"), &["node_modules", "built"]) {
        hash.update(format!("{path}\0{}\0", content.len()).as_bytes());
        hash.update(&content);
    }
    let hex: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let stamp = read("src/admin/dashboard/built/sources.sha256");
    assert_eq!(
        stamp.trim(),
        hex,
        "the page's sources changed: `npm ci && npm run build` in src/admin/dashboard"
    );
}
