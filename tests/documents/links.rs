//! Links between the documents lead to files and headings that are there. Links to elsewhere are not followed.

use super::{DOCUMENTS, read, root};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a link leads within the repository, and the heading that it names; nothing for one to elsewhere.
fn target(document: &str, link: &str) -> Option<(PathBuf, String)> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = Path::new(document).parent().expect("a file lies in a folder");
    let path = if path.is_empty() { root().join(document) } else { root().join(folder).join(path) };
    (!link.contains("://")).then(|| (path, anchor.to_owned()))
}

/// The anchors of a document's headings, as GitHub and GitLab make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let kept = line.trim_start_matches('#').trim().chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        });
        kept.collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_a_document_leads_to_a_file_and_a_heading_that_exist() {
    let mut followed = 0;
    for document in DOCUMENTS {
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|after| after.split(')').next()) {
            let Some((path, anchor)) = target(document, link) else { continue };
            assert!(path.exists(), "{document} links to {link}, which does not exist");
            if !anchor.is_empty() {
                let there = fs::read_to_string(&path).expect("a heading is in a text");
                assert!(
                    anchors(&there).contains(&anchor),
                    "{document} links to {link}, which has no such heading"
                );
            }
            followed += 1;
        }
    }
    assert!(followed >= 20, "only {followed} links found");
}
