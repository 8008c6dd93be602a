//! Every key of the file as a row of the reference: what it takes, what stands for it when it is left out, how risky a
//! change of it is, and what it means. Made from the table of fields, so it cannot say anything else.

use super::fields::{Field, Kind, Need, ROOT};
use super::scalar::{MAX_WORKERS, show_duration, show_size};

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The table that it stands in at the top of the file: `[gateway]`, `[[routes]]`.
    pub table: String,
    /// Its path below that: `queue.max_wait`, `backends[].address`; empty for the table itself.
    pub key: String,
    /// What it takes, and from where to where.
    pub takes: String,
    /// What stands for it when it is left out.
    pub default: String,
    /// How risky a change of it is.
    pub risk: String,
    /// What it means.
    pub doc: String,
}

/// All of them, in the order of the annotated reference.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for field in &ROOT {
        let table = match field.kind {
            Kind::List(..) => format!("[[{}]]", field.key),
            _ => format!("[{}]", field.key),
        };
        rows.push(row(field, &table, String::new()));
        below(field, &table, "", &mut rows);
    }
    rows
}

fn below(field: &Field, table: &str, path: &str, rows: &mut Vec<Row>) {
    for inner in field.kind.fields().unwrap_or_default() {
        let key = format!("{path}{}", inner.key);
        rows.push(row(inner, table, key.clone()));
        let deeper =
            if matches!(inner.kind, Kind::List(..)) { format!("{key}[].") } else { format!("{key}.") };
        below(inner, table, &deeper, rows);
    }
}

fn row(field: &Field, table: &str, key: String) -> Row {
    let default = match field.need {
        Need::Required => "must be there".to_owned(),
        Need::Optional => "none".to_owned(),
        Need::Default(text) => format!("`{text}`"),
        Need::Rule(rule) => rule.to_owned(),
    };
    let risk = match field.rises.sentence() {
        Some(when) => format!("{}; high when {when}", field.risk),
        None => field.risk.to_string(),
    };
    Row { table: table.to_owned(), key, takes: takes(&field.kind), default, risk, doc: field.doc.to_owned() }
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Text => "a text".to_owned(),
        Kind::Name => "a name".to_owned(),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Bool => "`true`, `false`".to_owned(),
        Kind::Integer(least, most) => format!("{least} to {most}"),
        Kind::Number(least, most) => format!("{least} to {most}"),
        Kind::Duration(least, most) => format!("{} to {}", show_duration(least), show_duration(most)),
        Kind::Size(least, most) => format!("{} to {}", show_size(least), show_size(most)),
        Kind::Percent(least, most) => format!("{least}% to {most}%"),
        Kind::Workers => format!("`auto`, or 1 to {MAX_WORKERS}"),
        Kind::Socket => "an address with a port".to_owned(),
        Kind::Network => "an address block".to_owned(),
        Kind::Endpoint => "a host with a port".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Hash => "a hash".to_owned(),
        Kind::HeaderName => "the name of a header".to_owned(),
        Kind::Headers => "header names with a text each".to_owned(),
        Kind::Method => "a method".to_owned(),
        Kind::Table(_) => "a table".to_owned(),
        Kind::List(item, 0) => format!("a list: {}", takes(item)),
        Kind::List(item, least) => format!("a list of {least} or more: {}", takes(item)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_all_that_the_table_of_fields_knows() {
        let rows = rows();
        let of = |table: &str, key: &str| {
            rows.iter().find(|row| row.table == table && row.key == key).expect("is there").clone()
        };
        let wait = of("[[upstreams]]", "queue.max_wait");
        assert_eq!(wait.takes, "1ms to 60s");
        assert!(wait.default.starts_with("the smaller of 50ms"), "{wait:?}");
        assert_eq!(wait.risk, "medium; high when raised to more than double, or removed");
        assert_eq!(of("[[upstreams]]", "backends[].address").default, "must be there");
        assert_eq!(of("[gateway]", "workers").default, "`\"auto\"`");
        assert!(rows.len() > 100, "only {} keys", rows.len());
    }
}
