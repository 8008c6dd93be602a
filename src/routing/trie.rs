//! A tree of path segments: finds, from the most to the least specific, what answers to a path.
//!
//! Ours rather than `matchit`'s, because a route may also ask for a method or headers: when the best path does
//! not fit in those, the next best must be tried, and `matchit` gives one answer only (it also allocates when
//! it steps back). It holds numbers, and knows nothing of routes.

use super::pattern::Segment;
use hashbrown::HashMap;

/// The tree. Allocates nothing while walking; recursion is as deep as the deepest pattern, which
/// [`PathPattern`](super::PathPattern) bounds.
#[derive(Debug, Default)]
pub(super) struct Trie {
    literals: HashMap<Box<str>, Trie, foldhash::fast::RandomState>,
    gap: Option<Box<Trie>>,
    /// Answers when the path ends here.
    end: Option<u32>,
    /// Answers when the path goes on from here.
    tail: Option<u32>,
}

impl Trie {
    /// Where the number for a path with gaps is kept.
    pub(super) fn pattern_slot(&mut self, segments: &[Segment]) -> &mut Option<u32> {
        let mut node = self;
        for segment in segments {
            match segment {
                Segment::Literal(text) => node = node.literals.entry_ref(&**text).or_default(),
                Segment::Gap => node = node.gap.get_or_insert_default(),
                Segment::Tail => return &mut node.tail,
            }
        }
        &mut node.end
    }

    /// Where the number for a path and everything below it is kept. A tree holds patterns or prefixes, not
    /// both: any pattern goes before any prefix.
    pub(super) fn prefix_slot<'a>(&mut self, segments: impl Iterator<Item = &'a str>) -> &mut Option<u32> {
        let mut node = self;
        for text in segments {
            node = node.literals.entry_ref(text).or_default();
        }
        &mut node.tail
    }

    /// Offers every number whose pattern answers to `rest` (segments after the one that led here; `None` at
    /// the end of the path) until one is taken. From the left, text goes before a gap and a gap before a tail.
    /// Each node is visited at most once.
    pub(super) fn walk_patterns<T>(
        &self,
        rest: Option<&str>,
        take: &mut impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        let Some(rest) = rest else { return self.end.and_then(take) };
        let (segment, after) = split(rest);
        if let Some(node) = self.literals.get(segment)
            && let Some(taken) = node.walk_patterns(after, take)
        {
            return Some(taken);
        }
        if let Some(node) = &self.gap
            && !segment.is_empty()
            && let Some(taken) = node.walk_patterns(after, take)
        {
            return Some(taken);
        }
        self.tail.and_then(take)
    }

    /// Offers every number whose prefix answers to `rest`, the longest first, until one is taken.
    pub(super) fn walk_prefixes<T>(
        &self,
        rest: Option<&str>,
        take: &mut impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        if let Some(rest) = rest {
            let (segment, after) = split(rest);
            if let Some(node) = self.literals.get(segment)
                && let Some(taken) = node.walk_prefixes(after, take)
            {
                return Some(taken);
            }
        }
        self.tail.and_then(take)
    }
}

/// The next segment, and what follows its slash.
fn split(rest: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', rest.as_bytes()) {
        Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
        None => (rest, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::PathPattern;
    use super::*;

    fn offered(trie: &Trie, path: &str) -> Vec<u32> {
        let mut seen = Vec::new();
        trie.walk_patterns(path.strip_prefix('/'), &mut |id| {
            seen.push(id);
            None::<()>
        });
        seen
    }

    #[test]
    fn offers_text_before_a_gap_before_a_tail() {
        let mut trie = Trie::default();
        for (id, text) in ["/{*all}", "/{a}/b", "/a/{b}", "/a/b", "/a/{*b}", "/a/"].into_iter().enumerate() {
            let Ok(PathPattern::Pattern(path)) = PathPattern::pattern(text) else { panic!("{text}") };
            *trie.pattern_slot(path.segments()) = Some(id as u32);
        }
        assert_eq!(offered(&trie, "/a/b"), [3, 2, 4, 1, 0]);
        assert_eq!(offered(&trie, "/a/"), [5, 4, 0]);
        assert_eq!(offered(&trie, "/a"), [0]);
        assert_eq!(offered(&trie, "/x/b"), [1, 0]);
        assert_eq!(offered(&trie, "/"), [0]);
    }
}
