//! The Prometheus text of `/metrics`, looked up by name and labels.

/// One scrape.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Parses the text format.
    pub fn parse(text: &str) -> Metrics {
        Metrics(
            text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).map(Sample::parse).collect(),
        )
    }

    /// The sum over all samples with this name and these labels; `None` if there is no such series.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.0.iter().filter(|s| s.name == name && s.has(labels)).map(|s| s.value).peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// The same, where a missing series is the test's failure: counters that never counted appear as 0.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| panic!("the series {name}{labels:?}"))
    }

    /// All values of one label of a metric.
    pub fn labels(&self, name: &str, label: &str) -> Vec<&str> {
        let of_name = self.0.iter().filter(|s| s.name == name);
        of_name.flat_map(|s| &s.labels).filter(|(n, _)| n == label).map(|(_, v)| v.as_str()).collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a value in {line:?}"));
        let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
        let labels = rest.strip_suffix('}').unwrap_or_else(|| panic!("labels that end in {line:?}"));
        let labels = labels.split("\",").filter(|l| !l.is_empty()).map(|pair| {
            let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("a label in {line:?}"));
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        Sample {
            name: name.to_owned(),
            labels: labels.collect(),
            value: value.parse().unwrap_or_else(|_| panic!("a number in {line:?}")),
        }
    }

    fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.labels.iter().any(|(n, v)| n == name && v == value))
    }
}

#[test]
fn series_are_found_by_name_and_labels() {
    let text = "# HELP a b\na_total{x=\"1\",y=\"p q\"} 2\na_total{x=\"2\",y=\"r\"} 3\nb 0.5\n";
    let metrics = Metrics::parse(text);
    assert_eq!(metrics.get("a_total", &[]), Some(5.0));
    assert_eq!(metrics.get("a_total", &[("y", "p q")]), Some(2.0));
    assert_eq!(metrics.get("a_total", &[("x", "3")]), None);
    assert_eq!(metrics.value("b", &[]), 0.5);
    assert_eq!(metrics.labels("a_total", "x"), ["1", "2"]);
}
