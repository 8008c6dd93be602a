//! "Did you mean": the known word that was probably meant.

/// The candidate nearest to `word`, if one is near enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words cost more to compare than the hint is worth.
    if word.len() > 64 {
        return None;
    }
    let slips = 1 + word.chars().count() / 4;
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= slips && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["path", "path_prefix", "path_pattern", "upstream", "orders"];
        assert_eq!(nearest("path_prefx", known), Some("path_prefix"));
        assert_eq!(nearest("order", known), Some("orders"));
        assert_eq!(nearest("usptream", known), Some("upstream"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
