//! Curves over time in panels, one above the other: the same contenders on each, with one legend.

use crate::pictures::colour;
use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// One contender's curve.
pub struct Line {
    /// As the legend has it.
    pub name: String,
    /// Decides the colour.
    pub peer: String,
    /// In pixels.
    pub width: u32,
    /// 0 to 1.
    pub shade: f64,
    pub points: Vec<(f64, f64)>,
}

/// One diagram of a picture.
pub struct Panel {
    /// What it shows.
    pub label: &'static str,
    pub lines: Vec<Line>,
}

/// The picture, `size` pixels wide and high. Time is in seconds.
pub fn draw(title: &str, size: (u32, u32), panels: &[Panel]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(|_| anyhow!("drawing {title}"))?;
        let area = area.titled(title, ("sans-serif", 20)).map_err(|_| anyhow!("drawing {title}"))?;
        for (i, (panel, area)) in panels.iter().zip(area.split_evenly((panels.len(), 1))).enumerate() {
            draw_panel(&area, panel, i == 0).map_err(|_| anyhow!("drawing {title}"))?;
        }
        area.present().map_err(|_| anyhow!("drawing {title}"))?;
    }
    Ok(svg)
}

fn draw_panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    panel: &Panel,
    legend: bool,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let top = points().map(|point| point.1).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..right, 0.0..top * 1.05)?;
    chart.configure_mesh().x_desc("seconds").y_desc(panel.label).draw()?;
    for line in &panel.lines {
        let style = colour(&line.peer).mix(line.shade).stroke_width(line.width);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(line.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    if legend {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    Ok(())
}
