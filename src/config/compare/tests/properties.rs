//! Whatever the text: the same is no difference, the order of tables and the side that is first decide nothing, and no
//! text panics.

use super::*;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const FILES: [&str; 9] = [
    include_str!("../../../../config/tidegate.toml"),
    include_str!("../../../../config/api-fleet.toml"),
    include_str!("../../../../config/grpc.toml"),
    include_str!("../../../../config/guarded.toml"),
    include_str!("../../../../config/internal.toml"),
    include_str!("../../../../config/quickstart.toml"),
    include_str!("../../../../config/recovery.toml"),
    include_str!("../../../../config/tls-edge.toml"),
    include_str!("../../../../config/websocket.toml"),
];

fn texts<'a>(before: &'a str, after: &'a str) -> Comparison {
    compare(Side { text: before, plan: None }, Side { text: after, plan: None })
}

/// The tables of a text, each from its header on with the tables in it; what stands before the first is left out.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') && !line.contains('.') {
            blocks.push(String::new());
        }
        if let Some(block) = blocks.last_mut() {
            *block += line;
            *block += "\n";
        }
    }
    blocks
}

#[test]
fn every_example_equals_itself_with_its_plan() {
    for text in FILES {
        let checked = valid(text);
        assert_eq!(compare(checked.side(), checked.side()), Comparison::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_in_any_order_are_no_difference(file in select(&FILES[..]), swaps in any::<[(Index, Index); 6]>()) {
        let mut blocks = blocks(file);
        for (one, other) in swaps {
            let (one, other) = (one.index(blocks.len()), other.index(blocks.len()));
            blocks.swap(one, other);
        }
        let comparison = texts(file, &blocks.concat());
        prop_assert!(comparison.is_empty(), "{:#?}", comparison.differences);
    }

    #[test]
    fn there_and_back_are_the_same_places(one in select(&FILES[..]), other in select(&FILES[..])) {
        let paths = |comparison: Comparison| {
            let mut paths: Vec<String> = comparison.differences.into_iter().map(|it| it.path).collect();
            paths.sort();
            paths
        };
        prop_assert_eq!(paths(texts(one, other)), paths(texts(other, one)));
    }

    #[test]
    fn damaged_texts_never_panic(
        file in select(&FILES[..]),
        at in any::<Index>(),
        piece in select(vec!["\"", "[", "]]", "{", "}", "=", "\n", "${", "${X}", "ö", "-1", "name = \"x\"\n", "[[routes]]\n"]),
    ) {
        let mut at = at.index(file.len());
        while !file.is_char_boundary(at) {
            at -= 1;
        }
        let text = [&file[..at], piece, &file[at..]].concat();
        let _ = texts(file, &text);
        let _ = texts(&text, &text);
    }
}
