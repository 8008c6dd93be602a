//! What was filled in is never shown: not in findings, not in notices, not in the plan's `Debug`.

use super::*;

const SECRET: &str = "s3cr3t hunter2";

fn with_secret(text: &str) -> Checked {
    let env = Fake { variables: [("S", SECRET)].into(), files: [("/etc/tidegate/s", SECRET)].into() };
    check(text, Path::new("/etc/tidegate/tidegate.toml"), &env)
}

#[test]
fn a_filled_value_that_is_wrong_is_named_by_its_placeholder() {
    let wrong = [
        ("name = \"r\"", "name = \"${S}\""),
        ("upstream = \"u\"", "upstream = \"${S}\""),
        ("path_prefix = \"/\"", "path_prefix = \"${S}\""),
        ("path_prefix = \"/\"", "path_pattern = \"/a/{${S}\""),
        ("path_prefix = \"/\"", "hosts = [\"${S}\"]"),
        ("path_prefix = \"/\"", "methods = [\"${S}\"]"),
        ("path_prefix = \"/\"", "timeout = \"${S}\""),
        ("path_prefix = \"/\"", "max_body = \"${file:s}\""),
        ("path_prefix = \"/\"", "class = \"${S}\""),
        ("path_prefix = \"/\"", "strip_prefix = \"${S}\""),
        ("path_prefix = \"/\"", "max_in_flight = \"${S}\""),
        ("path_prefix = \"/\"", "request_headers = { remove = [\"${S}\"] }"),
        ("path_prefix = \"/\"", "request_headers = { set = { x = \"${S}\\n\" } }"),
        ("address = \"127.0.0.1:0\"", "address = \"${S}\""),
        ("address = \"127.0.0.1:1\"", "address = \"${S}:1\""),
        ("name = \"u\"", "name = \"u\"\nhost = \"${S}\""),
        ("name = \"u\"", "name = \"u\"\ntls = { server_name = \"${S}\" }"),
        ("name = \"u\"", "name = \"u\"\nmax_in_flight = \"9${S}\""),
        (
            "name = \"edge\"",
            "name = \"edge\"\ntls = { certificates = [{ certificate = \"${S}\", key = \"k\" }] }\nmax_headers = 1",
        ),
    ];
    for (part, replacement) in wrong {
        let text = GOOD.replace(part, replacement);
        let checked = with_secret(&text);
        assert!(checked.is_refused(), "{replacement}");
        let said =
            format!("{} {} {:?} {:?}", checked.render(true), checked.json(), checked.errors(), checked);
        assert!(!said.contains("s3cr3t") && !said.contains("hunter2"), "{replacement}: {said}");
        assert!(said.contains("${S}") || said.contains("${file:s}"), "{replacement}: {said}");
    }
}

#[test]
fn headers_with_secrets_do_not_show_them_in_the_plan() {
    let text = GOOD.replace(
        "path_prefix = \"/\"",
        "request_headers = { set = { authorization = \"Bearer ${S}\" } }\nheaders = { x-key = \"${file:s}\" }",
    );
    let checked = with_secret(&text);
    let plan = checked.plan.as_ref().expect("the text is valid");
    assert_eq!(plan.routes[0].1.filters.request_headers.set[0].1, format!("Bearer {SECRET}").as_str());
    assert!(!format!("{checked:?}").contains("s3cr3t"), "{checked:?}");
}

#[test]
fn routes_that_cannot_be_told_apart_do_not_show_what_fills_them() {
    let route = "\n[[routes]]\nname = \"NAME\"\nhosts = [\"${H}\"]\nupstream = \"u\"\n";
    let text = format!("{GOOD}{}{}", route.replace("NAME", "x"), route.replace("NAME", "y"));
    let env = Fake { variables: [("H", "hidden.example")].into(), ..Fake::default() };
    let checked = check(&text, Path::new("x.toml"), &env);
    assert_eq!(checked.errors().len(), 1, "{:?}", checked.errors());
    assert!(!checked.render(false).contains("hidden"), "{}", checked.render(false));
}

#[test]
fn hashes_of_tokens_are_not_in_the_plans_debug() {
    let hash = "ab".repeat(32);
    let text = format!(
        "[admin]\ntokens = [{{ name = \"ops\", role = \"viewer\", hash = \"{hash}\" }}]\nmetrics_token = \"{hash}\"\n{GOOD}"
    );
    let plan = plan(&text);
    assert_eq!(plan.admin.tokens[0].hash, hash);
    assert!(!format!("{plan:?}").contains(&hash));
}
