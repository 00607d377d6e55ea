//! The ratios as a bar chart in SVG.

use super::column::Column;
use super::summary::Summary;

/// In the order of the contenders, ours first.
const COLOURS: [&str; 5] = ["#0b6e99", "#9aa5b1", "#c9b27c", "#a3b899", "#c8a2a2"];

const LEFT: f64 = 50.0;
const TOP: f64 = 60.0;
const HEIGHT: f64 = 300.0;
const BAR: f64 = 14.0;
/// Between two groups of bars.
const GAP: f64 = 22.0;
const BELOW: f64 = 40.0;
/// Bars that would be higher are cut off.
const MOST: f64 = 1.4;

/// Draws one group of bars for each column; the direct path is the line at 1.
pub(crate) fn draw(summary: &Summary) -> String {
    let names: Vec<&str> = summary.others().collect();
    let group = BAR * names.len() as f64 + GAP;
    let width = LEFT + group * summary.columns.len() as f64 + GAP;
    let top = highest(summary, &names);
    let mut text = head(width);
    text.push_str(&scale(width, top));
    text.push_str(&legend(&names));
    for (place, column) in summary.columns.iter().enumerate() {
        let left = LEFT + GAP / 2.0 + group * place as f64;
        text.push_str(&bars(summary, *column, &names, left, top));
        let (middle, below) = (left + (group - GAP) / 2.0, TOP + HEIGHT + 18.0);
        let name = column.name();
        text += &format!(
            "<text x=\"{middle:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{name}</text>\n"
        );
    }
    text.push_str("</svg>\n");
    text
}

/// The upper end of the scale: the tenth above the highest bar, between 1 and [`MOST`].
fn highest(summary: &Summary, names: &[&str]) -> f64 {
    let columns = summary.columns.iter();
    let ratios = columns.flat_map(|it| names.iter().filter_map(|name| summary.ratio(*it, name)));
    (ratios.fold(1.0, f64::max) * 10.0).ceil().min(MOST * 10.0) / 10.0
}

fn head(width: f64) -> String {
    let height = TOP + HEIGHT + BELOW;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#333\">\n\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Rate through a proxy, direct path = 1 \
         (median of paired windows)</text>\n"
    )
}

fn scale(width: f64, top: f64) -> String {
    let mut text = String::new();
    let mut mark = 0.0;
    while mark <= top + 1e-9 {
        let y = level(mark, top);
        let colour = if (mark - 1.0_f64).abs() < 1e-9 { "#333" } else { "#ddd" };
        text += &format!(
            "<line x1=\"{LEFT}\" x2=\"{width:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" \
             stroke=\"{colour}\"/>\n<text x=\"{:.0}\" y=\"{:.1}\" \
             text-anchor=\"end\">{mark:.1}</text>\n",
            LEFT - 6.0,
            y + 4.0
        );
        mark += 0.2;
    }
    text
}

fn legend(names: &[&str]) -> String {
    let mut text = String::new();
    for (place, (name, colour)) in names.iter().zip(COLOURS).enumerate() {
        let x = LEFT + 110.0 * place as f64;
        text += &format!(
            "<rect x=\"{x:.0}\" y=\"32\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\n\
             <text x=\"{:.0}\" y=\"41\">{name}</text>\n",
            x + 15.0
        );
    }
    text
}

fn bars(summary: &Summary, column: Column, names: &[&str], left: f64, top: f64) -> String {
    let mut text = String::new();
    for (place, (name, colour)) in names.iter().zip(COLOURS).enumerate() {
        let Some(ratio) = summary.ratio(column, name) else { continue };
        let (x, y) = (left + BAR * place as f64, level(ratio.min(top), top));
        let (width, height) = (BAR - 2.0, TOP + HEIGHT - y);
        let title = format!("{name}, {}: {ratio:.2}", column.name());
        text += &format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width}\" height=\"{height:.1}\" \
             fill=\"{colour}\"><title>{title}</title></rect>\n"
        );
    }
    text
}

fn level(ratio: f64, top: f64) -> f64 {
    TOP + HEIGHT * (1.0 - ratio / top)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::summary::tests::summary;

    #[test]
    fn every_figure_is_a_bar() {
        let summary = summary(&[
            (Column::Rr1, "direct", 1.0),
            (Column::Rr1, "ours", 0.9),
            (Column::UdpRr1, "direct", 1.0),
            (Column::UdpRr1, "ours", 0.5),
        ]);
        let drawn = draw(&summary);
        assert!(drawn.contains("ours, rr64x1: 0.90") && drawn.contains("ours, udp-rr64x1: 0.50"));
        assert_eq!(drawn.matches("<title>").count(), 2);
        assert!(drawn.ends_with("</svg>\n"));
    }

    #[test]
    fn the_scale_reaches_the_highest_bar() {
        assert!(
            (highest(&summary(&[(Column::Rr1, "d", 1.0), (Column::Rr1, "x", 1.23)]), &["x"]) - 1.3)
                .abs()
                < 1e-9
        );
        assert!((level(0.0, 1.0) - (TOP + HEIGHT)).abs() < 1e-9);
    }
}
