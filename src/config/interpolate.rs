//! `${NAME}`, `${NAME:default}` and `${file:PATH}` in values, filled after parsing.
//!
//! Filling after parsing means that a value can never change the structure of the file, and that the text of a
//! version stays free of secrets. What was filled in is never put into a message. Filled text is not scanned
//! again. `$${` stands for a literal `${`; a lone `$` stands for itself.
#![expect(clippy::disallowed_methods, reason = "configurations are built off the cores")]

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a file that fills a value, at most.
const MAX_FILE: u64 = 64 * 1024;

/// Bytes of a value from which on it may be a secret.
const SHORT: usize = 4;

/// Where placeholders are filled from, and which local files exist. A trait so that tests are pure.
pub trait Environment {
    /// The value of an environment variable, if set.
    fn variable(&self, name: &str) -> Option<String>;

    /// The content of a file that fills a value.
    ///
    /// # Errors
    /// What the system says, or that the file is no regular file, too large, or not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Whether a file is there.
    fn exists(&self, path: &Path) -> bool;

    /// What fills a value may be anything at all, because what it was is gone: only its place counts.
    fn stands_in(&self) -> bool {
        false
    }
}

/// The environment of this process and its file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        // A pipe or a device could block for ever or never end.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut text = String::new();
        File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 64 KiB"));
        }
        Ok(text)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// What is wrong with a placeholder. Holds names from the file, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillError {
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Fills the placeholders of `text`; `None` if there is nothing to fill or unescape.
///
/// # Errors
/// Every placeholder that cannot be filled; paths are relative to `directory`.
pub fn fill(text: &str, directory: &Path, env: &dyn Environment) -> Result<Option<String>, Vec<FillError>> {
    fill_noting(text, directory, env, &mut |_, _| ())
}

/// [`fill`], and tells what stands between the braces of each placeholder, and what fills it.
///
/// # Errors
/// As [`fill`].
pub fn fill_noting(
    text: &str,
    directory: &Path,
    env: &dyn Environment,
    note: &mut dyn FnMut(&str, &str),
) -> Result<Option<String>, Vec<FillError>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let (mut filled, mut errors, mut rest) = (String::new(), Vec::new(), text);
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            filled.push_str(&rest[..at - 1]);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            errors.push(error("`${` without its `}`".into(), "write `$${` for a literal `${`".into()));
            rest = "";
            break;
        };
        let inner = &rest[at + 2..at + end];
        match placeholder(inner, directory, env) {
            Ok(value) => {
                note(inner, &value);
                filled.push_str(&value);
            }
            Err(wrong) => errors.push(wrong),
        }
        rest = &rest[at + end + 1..];
    }
    filled.push_str(rest);
    if errors.is_empty() { Ok(Some(filled)) } else { Err(errors) }
}

/// What stands between the braces of each placeholder of `text`.
pub fn placeholders(text: &str) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find("${") {
        let escaped = rest[..at].ends_with('$');
        let Some(end) = rest[at..].find('}').filter(|_| !escaped) else {
            rest = &rest[at + 2..];
            continue;
        };
        found.push(&rest[at + 2..at + end]);
        rest = &rest[at + end + 1..];
    }
    found
}

/// `message` with every value that fills a placeholder of `text` replaced by the placeholder: what is said of a
/// file whose name was filled in must not show what it was filled with.
pub fn unfill(message: &str, text: &str, directory: &Path, env: &dyn Environment) -> String {
    Fillings::of(text, directory, env).hide(message)
}

/// What fills the placeholders of a text, to be taken out of messages again. Never shown.
pub struct Fillings(Vec<(String, String)>);

impl fmt::Debug for Fillings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fillings").field(&self.0.len()).finish()
    }
}

impl Fillings {
    /// Of a text; reads local files like [`fill`].
    pub fn of(text: &str, directory: &Path, env: &dyn Environment) -> Self {
        let placeholders =
            text.match_indices("${").filter_map(|(at, _)| text[at..].split_inclusive('}').next());
        let mut known: Vec<(String, String)> = Vec::new();
        for placeholder in placeholders {
            if known.iter().all(|(_, known)| known != placeholder)
                && let Ok(Some(value)) = fill(placeholder, directory, env)
                && !value.is_empty()
            {
                known.push((value, placeholder.to_owned()));
            }
        }
        Fillings(known)
    }

    /// The same for a sentence of which most is ours: what is too short to be a secret is replaced only where it stands
    /// alone, so that a port of 80 does not turn `800 ms` into a riddle.
    pub fn hide_words(&self, sentence: &str) -> String {
        self.0.iter().fold(sentence.to_owned(), |sentence, (value, placeholder)| match value.len() {
            ..SHORT => replace_words(&sentence, value, placeholder),
            _ => sentence.replace(value, placeholder),
        })
    }

    /// `message` with the placeholders in the places of what filled them.
    pub fn hide(&self, message: &str) -> String {
        self.0
            .iter()
            .fold(message.to_owned(), |message, (value, placeholder)| message.replace(value, placeholder))
    }
}

/// `text` with `with` in the places where `word` has no letter or digit beside it.
fn replace_words(text: &str, word: &str, with: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let before_it = before.chars().next_back().or_else(|| out.chars().next_back());
        let is_part = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
        let alone = !is_part(before_it) && !is_part(after.chars().next());
        out.push_str(before);
        out.push_str(if alone { with } else { word });
        rest = after;
    }
    out + rest
}

/// The value of what stands between the braces.
fn placeholder(inner: &str, directory: &Path, env: &dyn Environment) -> Result<String, FillError> {
    if let Some(path) = inner.strip_prefix("file:") {
        return from_file(path, directory, env);
    }
    let (name, default) = match inner.split_once(':') {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err(error(
            format!("`{name}` is not the name of an environment variable"),
            "names are letters, digits and `_`; write `$${` for a literal `${`".into(),
        ));
    }
    match (env.variable(name), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(error(
            format!("the environment variable `{name}` is not set"),
            format!("set it, or give a default: `${{{name}:…}}`"),
        )),
    }
}

fn from_file(path: &str, directory: &Path, env: &dyn Environment) -> Result<String, FillError> {
    if path.is_empty() {
        return Err(error("`${file:}` names no file".into(), "write `${file:PATH}`".into()));
    }
    match env.read(&directory.join(path)) {
        Ok(mut value) => {
            value.truncate(value.trim_end_matches(['\n', '\r']).len());
            Ok(value)
        }
        Err(reason) => Err(error(
            format!("the file `{path}` cannot be read: {reason}"),
            "the path is relative to the configuration file; it must be a text file of at most 64 KiB".into(),
        )),
    }
}

fn is_name(name: &str) -> bool {
    name.bytes()
        .enumerate()
        .all(|(i, b)| b == b'_' || b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit()))
        && !name.is_empty()
}

fn error(message: String, hint: String) -> FillError {
    FillError { message, hint }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// An environment of the test's own.
    #[derive(Default)]
    pub(in crate::config) struct Fake {
        pub variables: HashMap<&'static str, &'static str>,
        pub files: HashMap<&'static str, &'static str>,
    }

    impl Environment for Fake {
        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).map(|value| (*value).to_owned())
        }
        fn read(&self, path: &Path) -> io::Result<String> {
            let found = path.to_str().and_then(|path| self.files.get(path));
            found.map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        fn exists(&self, path: &Path) -> bool {
            path.to_str().is_some_and(|path| self.files.contains_key(path))
        }
    }

    fn filled(text: &str) -> Result<Option<String>, Vec<FillError>> {
        let env = Fake {
            variables: HashMap::from([("PORT", "8080"), ("NESTED", "${PORT}"), ("EMPTY", "")]),
            files: HashMap::from([("/etc/tidegate/token", "s3cret\n")]),
        };
        fill(text, Path::new("/etc/tidegate"), &env)
    }

    #[test]
    fn what_was_filled_in_is_taken_out_of_a_message_again() {
        let env = Fake { variables: HashMap::from([("S", "hunter2")]), ..Fake::default() };
        let text = "ca = \"certs/${S}\"\nx = \"${S\"";
        let said = unfill("/etc/certs/hunter2: not found", text, Path::new("/etc"), &env);
        assert_eq!(said, "/etc/certs/${S}: not found");
    }

    #[test]
    fn a_value_too_short_to_be_a_secret_spoils_no_number_and_a_long_one_is_hidden_anywhere() {
        let variables = HashMap::from([("PORT", "80"), ("S", "hunter2")]);
        let env = Fake { variables, ..Fake::default() };
        let fillings = Fillings::of("${S}.test:${PORT}", Path::new("/"), &env);
        assert_eq!(fillings.hide_words("hunter2.test:80"), "${S}.test:${PORT}");
        let sentence = "xhunter2x: nothing within 800 ms at 180.80.1.8";
        assert_eq!(fillings.hide_words(sentence), "x${S}x: nothing within 800 ms at 180.${PORT}.1.8");
        assert_eq!(fillings.hide_words("80"), "${PORT}");
        assert_eq!(fillings.hide("800"), "${PORT}0");
        assert!(!format!("{fillings:?}").contains("hunter2"));
    }

    #[test]
    fn placeholders_are_filled_once_and_escapes_are_literal() {
        for (text, expected) in [
            ("127.0.0.1:${PORT}", "127.0.0.1:8080"),
            ("${MISSING:fall:back}", "fall:back"),
            ("${PORT:1}", "8080"),
            ("${EMPTY:1}", ""),
            ("${NESTED}", "${PORT}"),
            ("$${PORT}", "${PORT}"),
            ("a$${b}${PORT}", "a${b}8080"),
            ("${file:token}", "s3cret"),
            ("${file:/etc/tidegate/token}!", "s3cret!"),
        ] {
            assert_eq!(filled(text), Ok(Some(expected.to_owned())), "{text}");
        }
        assert_eq!(filled("cost: $5 {x}"), Ok(None));
    }

    #[test]
    fn placeholders_are_found_as_they_are_filled() {
        let (text, env) =
            ("a${A:1}$${B}${C}${file:x}${", Fake { files: [("/x", "f")].into(), ..Fake::default() });
        let mut noted = Vec::new();
        let part = text.trim_end_matches("${").replace("${C}", "${C:2}");
        let filled = fill_noting(&part, Path::new("/"), &env, &mut |inner, value| {
            noted.push(format!("{inner}={value}"))
        });
        assert_eq!(filled, Ok(Some("a1${B}2f".to_owned())));
        assert_eq!(noted, ["A:1=1", "C:2=2", "file:x=f"]);
        assert_eq!(placeholders(text), ["A:1", "C", "file:x"]);
    }

    #[test]
    fn every_placeholder_that_cannot_be_filled_is_named() {
        let errors = filled("${A} ${B} ${file:none} ${1x} ${").unwrap_err();
        assert_eq!(errors.len(), 5);
        assert!(errors[0].message.contains("`A`"));
        assert!(errors[2].message.contains("none"));
    }

    #[test]
    fn a_device_is_not_read() {
        assert!(ProcessEnvironment.read(Path::new("/dev/zero")).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_text_panics(text in "[${}:A-Cfile\\PC]{0,24}") {
            let _ = filled(&text);
        }
    }
}
