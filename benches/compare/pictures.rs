//! Pictures of a run, as SVG: bars for what a request costs, curves for latency against load. A picture whose
//! measures were not taken is not drawn.

use crate::overload_report;
use crate::restart_report;
use crate::results::Results;
use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A picture: its file's name, what it shows, and the SVG itself.
pub struct Picture {
    pub file: String,
    pub title: String,
    pub svg: String,
}

const SIZE: (u32, u32) = (900, 420);

/// Colours of the peers, the same on all pictures.
pub fn colour(peer: &str) -> RGBColor {
    match peer {
        "direct" => RGBColor(60, 60, 60),
        "relay" => RGBColor(160, 160, 160),
        "nginx" => RGBColor(0, 150, 57),
        "haproxy" => RGBColor(16, 110, 190),
        "envoy" => RGBColor(172, 60, 180),
        "caddy" => RGBColor(220, 160, 20),
        _ => RGBColor(200, 30, 40),
    }
}

/// All that this run has measures for.
pub fn all(results: &Results) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    let bars = [
        (
            "cost.svg",
            "CPU of one request, µs",
            &["small", "16k", "connection", "h2c", "h2-upstream", "grpc"][..],
            "cpu",
        ),
        ("large.svg", "CPU of an answer of 1 MiB, µs", &["1m"], "cpu"),
        (
            "tls.svg",
            "CPU of a new TLS connection and one request, µs",
            &["tls-full", "tls-resumed", "tls-pq"],
            "cpu",
        ),
        (
            "throughput.svg",
            "Requests a second on one core",
            &["small", "16k", "connection", "h2c", "grpc"],
            "rate",
        ),
        ("memory.svg", "KiB of one idle connection", &["idle"], ""),
    ];
    for (file, title, groups, kind) in bars {
        let ids: Vec<_> = match kind {
            "" => vec!["idle.http1", "idle.tls", "idle.h2c", "idle.h2-tls"]
                .into_iter()
                .map(str::to_owned)
                .collect(),
            kind => groups.iter().map(|group| format!("{group}.{kind}")).collect(),
        };
        let groups = groups_of(results, &ids);
        if !groups.is_empty() {
            let svg = bar_chart(title, &groups)?;
            pictures.push(Picture { file: file.to_owned(), title: title.to_owned(), svg });
        }
    }
    for share in ["p50", "p99", "p99.9"] {
        let curves = curves(results, share);
        if !curves.is_empty() {
            let title = format!("Latency ({share}) against load, from the moment a request was due");
            let svg = line_chart(&title, "requests a second", "ms", &curves)?;
            pictures.push(Picture { file: format!("latency-{share}.svg"), title, svg });
        }
    }
    pictures.extend(overload_report::pictures(&results.overload)?);
    pictures.extend(restart_report::pictures(&results.restart)?);
    Ok(pictures)
}

/// What stands side by side: a label, and each peer's median.
type Group = (String, Vec<(String, f64)>);

/// A peer's name and its points.
pub type Curve = (String, Vec<(f64, f64)>);

fn groups_of(results: &Results, ids: &[String]) -> Vec<Group> {
    let names: Vec<_> = results.peers.iter().map(|(name, _)| name.clone()).collect();
    let group = |id: &String| {
        let measure = results.measure(id)?;
        let medians = names.iter().filter_map(|name| Some((name.clone(), measure.median(name)?)));
        let medians: Vec<_> = medians.collect();
        let label = id.trim_end_matches(".cpu").trim_end_matches(".rate").to_owned();
        (!medians.is_empty()).then_some((label, medians))
    };
    ids.iter().filter_map(group).collect()
}

/// Points are at `latency.at.RATE.SHARE`.
fn curves(results: &Results, share: &str) -> Vec<Curve> {
    let measures = results.sections.iter().flat_map(|section| &section.measures);
    let mut curves: Vec<Curve> = Vec::new();
    for measure in measures {
        let rate =
            measure.id.strip_prefix("latency.at.").and_then(|rest| rest.strip_suffix(&format!(".{share}")));
        let Some(rate) = rate.and_then(|rate| rate.parse::<f64>().ok()) else { continue };
        for peer in measure.peers.keys() {
            let Some(median) = measure.median(peer) else { continue };
            match curves.iter_mut().find(|(name, _)| name == peer) {
                Some((_, points)) => points.push((rate, median)),
                None => curves.push((peer.clone(), vec![(rate, median)])),
            }
        }
    }
    for (_, points) in &mut curves {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    curves
}

fn bar_chart(title: &str, groups: &[Group]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let drawn = || anyhow!("drawing {title}");
        area.fill(&WHITE).map_err(|_| drawn())?;
        let most = groups.iter().flat_map(|(_, bars)| bars).map(|(_, value)| *value).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..groups.len() as f64, 0.0..most * 1.15)
            .map_err(|_| drawn())?;
        let label = |x: &f64| {
            let group = groups.get(*x as usize).filter(|_| x.fract() > 0.4 && x.fract() < 0.6);
            group.map(|(label, _)| label.clone()).unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(groups.len() * 2 + 1)
            .x_label_formatter(&label)
            .draw()
            .map_err(|_| drawn())?;
        let mut named = Vec::new();
        for (n, (_, bars)) in groups.iter().enumerate() {
            let width = 0.8 / bars.len() as f64;
            for (at, (peer, value)) in bars.iter().enumerate() {
                let left = n as f64 + 0.1 + at as f64 * width;
                let bar = Rectangle::new([(left, 0.0), (left + width * 0.9, *value)], colour(peer).filled());
                let series = chart.draw_series([bar]).map_err(|_| drawn())?;
                if !named.contains(peer) {
                    named.push(peer.clone());
                    let colour = colour(peer);
                    series
                        .label(peer.as_str())
                        .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
                }
            }
        }
        legend(&mut chart).map_err(|_| drawn())?;
        area.present().map_err(|_| drawn())?;
    }
    Ok(svg)
}

/// Curves over a common axis, with a legend.
pub fn line_chart(title: &str, x: &str, y: &str, curves: &[Curve]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let drawn = || anyhow!("drawing {title}");
        area.fill(&WHITE).map_err(|_| drawn())?;
        let points = || curves.iter().flat_map(|(_, points)| points);
        let right = points().map(|(x, _)| *x).fold(0.0, f64::max);
        let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..right * 1.02, 0.0..top * 1.1)
            .map_err(|_| drawn())?;
        chart.configure_mesh().x_desc(x).y_desc(y).draw().map_err(|_| drawn())?;
        for (peer, points) in curves {
            let colour = colour(peer);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
                .map_err(|_| drawn())?
                .label(peer.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        legend(&mut chart).map_err(|_| drawn())?;
        area.present().map_err(|_| drawn())?;
    }
    Ok(svg)
}

type Chart<'b> = ChartContext<
    'b,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn legend<'b>(
    chart: &mut Chart<'b>,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'b> as DrawingBackend>::ErrorType>> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_that_was_not_measured() {
        assert!(all(&Results::default()).expect("drawn").is_empty());
    }

    #[test]
    fn a_bar_is_drawn_for_each_peer_and_a_curve_through_its_points() {
        let peers = ["nginx", "tidegate"].map(|name| (name.to_owned(), String::new())).to_vec();
        let mut results = Results { peers, ..Results::default() };
        let measure = results.section("small", "Small", "").measure("small.cpu", "CPU", "µs");
        measure.add("nginx", 11.9);
        measure.add("tidegate", 10.5);
        for rate in ["1000", "9000"] {
            let id = format!("latency.at.{rate}.p99");
            results.section("latency", "Latency", "").measure(&id, "p99", "ms").add("direct", 0.3);
        }
        let pictures = all(&results).expect("drawn");
        let names: Vec<_> = pictures.iter().map(|picture| picture.file.as_str()).collect();
        assert_eq!(names, ["cost.svg", "latency-p99.svg"]);
        assert!(pictures[0].svg.contains("nginx") && pictures[0].svg.contains("tidegate"));
        assert!(pictures[1].svg.contains("direct") && pictures[1].svg.ends_with("</svg>\n"));
    }
}
