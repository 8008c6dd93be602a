//! Reads Rust source only as far as the house rules need it: code without comments and strings, without the
//! tests inside it, and the modules that its `crate::` paths name. No parser: a file that does not compile is
//! the compiler's business.

/// The code with every comment and every literal's content blanked, line for line.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, keep) = match token(rest) {
            Some(length) => (length, false),
            None => (word(rest).max(first.len_utf8()), true),
        };
        let (piece, after) = rest.split_at(length);
        match keep {
            true => out.push_str(piece),
            false => out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
        }
        rest = after;
    }
    out
}

/// The length of a comment or literal that starts here.
fn token(rest: &str) -> Option<usize> {
    let end = |found: Option<usize>, with: usize| Some(found.map_or(rest.len(), |at| at + with));
    if rest.starts_with("//") {
        return end(rest.find('\n'), 0);
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    let bare = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
    if let Some(raw) = bare.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let open = rest.len() - raw.len() + hashes + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            return end(rest[open..].find(&close), open + close.len());
        }
    }
    if bare.starts_with('"') {
        return Some(quoted(rest, rest.len() - bare.len() + 1, '"'));
    }
    if bare.starts_with('\'') && !is_lifetime(bare) {
        return Some(quoted(rest, rest.len() - bare.len() + 1, '\''));
    }
    None
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length up to and with the closing quote, escapes honoured.
fn quoted(rest: &str, open: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest[open..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return open + at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn is_lifetime(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    let (first, second) = (chars.next(), chars.next());
    first.is_some_and(|c| c.is_alphabetic() || c == '_') && second != Some('\'')
}

/// The length of the identifier that starts here; so that `br` inside a name opens no string.
fn word(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

/// The code without its `#[cfg(test)] mod … { … }`.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let item = &after[MARK.len()..];
        let end = match (item.find('{'), item.find(';')) {
            (Some(brace), semicolon) if semicolon.is_none_or(|semicolon| brace < semicolon) => {
                closing(item, brace)
            }
            (_, Some(semicolon)) => semicolon + 1,
            _ => item.len(),
        };
        rest = &item[end..];
    }
    out + rest
}

/// Just behind the brace that closes the one at `open`.
fn closing(text: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The first names behind every `crate::`, groups opened: `crate::{a::B, c}` names `a` and `c`.
pub fn crate_paths(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let path = &code[at + "crate::".len()..];
        if path.starts_with('{') {
            names.extend(group(&path[1..closing(path, 0)]));
        } else {
            names.push(path[..word(path)].to_owned());
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn group(inside: &str) -> Vec<String> {
    let mut depth = 0;
    let parts = inside.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts.map(|part| part.trim_start()).map(|part| part[..word(part)].to_owned()).collect()
}

/// True if `text` holds `wanted` as a whole word.
pub fn has_word(text: &str, wanted: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(wanted)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + wanted.len()..].starts_with(is_part))
}
