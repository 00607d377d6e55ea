//! Ratios as bar charts in SVG.

use super::column::Column;
use super::summary::Summary;

/// In the order in which contenders are first seen, ours first.
const COLOURS: [&str; 6] = ["#0b6e99", "#9aa5b1", "#c9b27c", "#a3b899", "#c8a2a2", "#b7a8cf"];

const LEFT: f64 = 50.0;
/// Above the first panel: title and legend.
const HEAD: f64 = 50.0;
/// Above the bars of a panel.
const ABOVE: f64 = 10.0;
/// Above the bars of a panel that has a name.
const NAME: f64 = 18.0;
const HEIGHT: f64 = 300.0;
/// Where there are several panels.
const LOWER: f64 = 180.0;
const BAR: f64 = 14.0;
/// Between two groups of bars.
const GAP: f64 = 22.0;
const BELOW: f64 = 40.0;
/// Bars that would be higher are cut off.
const MOST: f64 = 1.4;

/// One set of bars with a scale of its own.
struct Panel<'a> {
    name: &'a str,
    summary: &'a Summary,
    names: Vec<&'a str>,
    /// Where its scale ends: above 0 and below on the page.
    top: f64,
    y: f64,
    height: f64,
}

/// Draws a panel for each summary, with a group of bars for each column; the direct path is the
/// line at 1.
pub(crate) fn draw(title: &str, summaries: &[(&str, &Summary)]) -> String {
    let mut all: Vec<&str> = Vec::new();
    for name in summaries.iter().flat_map(|(_, summary)| summary.others()) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    let panels = panels(summaries);
    let width = panels.iter().map(Panel::width).fold(0.0, f64::max);
    let bottom = panels.last().map_or(HEAD, |panel| panel.y + panel.height + BELOW);
    let mut text = head(title, width, bottom);
    text.push_str(&legend(&all));
    for panel in &panels {
        text.push_str(&panel.draw(width, &all));
    }
    text.push_str("</svg>\n");
    text
}

fn panels<'a>(summaries: &[(&'a str, &'a Summary)]) -> Vec<Panel<'a>> {
    let height = if summaries.len() == 1 { HEIGHT } else { LOWER };
    let mut y = HEAD;
    let panel = |(name, summary): &(&'a str, &'a Summary)| {
        let names: Vec<&str> = summary.others().collect();
        y += if name.is_empty() { ABOVE } else { ABOVE + NAME };
        let panel = Panel { name, summary, top: highest(summary, &names), names, y, height };
        y += height + BELOW;
        panel
    };
    summaries.iter().map(panel).collect()
}

/// The upper end of the scale: the tenth above the highest bar, between 1 and [`MOST`].
fn highest(summary: &Summary, names: &[&str]) -> f64 {
    let columns = summary.columns.iter();
    let ratios = columns.flat_map(|it| names.iter().filter_map(|name| summary.ratio(*it, name)));
    (ratios.fold(1.0, f64::max) * 10.0).ceil().min(MOST * 10.0) / 10.0
}

fn head(title: &str, width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#333\">\n\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    )
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

// === impl Panel ===

impl Panel<'_> {
    fn group(&self) -> f64 {
        BAR * self.names.len() as f64 + GAP
    }

    fn width(&self) -> f64 {
        LEFT + self.group() * self.summary.columns.len() as f64 + GAP
    }

    fn draw(&self, width: f64, all: &[&str]) -> String {
        let mut text = self.heading() + &self.scale(width);
        for (place, column) in self.summary.columns.iter().enumerate() {
            let left = LEFT + GAP / 2.0 + self.group() * place as f64;
            text.push_str(&self.bars(*column, all, left));
            let (middle, below) = (left + (self.group() - GAP) / 2.0, self.y + self.height + 18.0);
            let name = column.name();
            text += &format!(
                "<text x=\"{middle:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{name}</text>\n"
            );
        }
        text
    }

    fn heading(&self) -> String {
        if self.name.is_empty() {
            return String::new();
        }
        let (y, name) = (self.y - ABOVE, self.name);
        format!("<text x=\"{LEFT}\" y=\"{y:.0}\" font-weight=\"bold\">{name}</text>\n")
    }

    fn scale(&self, width: f64) -> String {
        let mut text = String::new();
        let mut mark = 0.0;
        while mark <= self.top + 1e-9 {
            let y = self.level(mark);
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

    fn bars(&self, column: Column, all: &[&str], left: f64) -> String {
        let mut text = String::new();
        for (place, name) in self.names.iter().enumerate() {
            let coloured = all.iter().zip(COLOURS).find(|(known, _)| *known == name);
            let Some((_, colour)) = coloured else { continue };
            let Some(ratio) = self.summary.ratio(column, name) else { continue };
            let (x, y) = (left + BAR * place as f64, self.level(ratio.min(self.top)));
            let (width, height) = (BAR - 2.0, self.y + self.height - y);
            let title = format!("{name}, {}: {ratio:.2}", column.name());
            text += &format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width}\" height=\"{height:.1}\" \
                 fill=\"{colour}\"><title>{title}</title></rect>\n"
            );
        }
        text
    }

    fn level(&self, ratio: f64) -> f64 {
        self.y + self.height * (1.0 - ratio / self.top)
    }
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
        let drawn = draw("rates", &[("", &summary)]);
        assert!(drawn.contains("ours, rr64x1: 0.90") && drawn.contains("ours, udp-rr64x1: 0.50"));
        assert_eq!(drawn.matches("<title>").count(), 2);
        assert!(drawn.ends_with("</svg>\n"));
    }

    #[test]
    fn everybody_has_one_colour_in_all_panels() {
        let first = summary(&[(Column::Rr1, "direct", 1.0), (Column::Rr1, "theirs", 0.5)]);
        let second = summary(&[
            (Column::Rr1, "direct", 1.0),
            (Column::Rr1, "ours", 0.9),
            (Column::Rr1, "theirs", 0.5),
        ]);
        let drawn = draw("rates", &[("::1", &first), ("127.0.0.1", &second)]);
        let theirs = format!("fill=\"{}\"><title>theirs", COLOURS[0]);
        assert_eq!(drawn.matches(&theirs).count(), 2);
        assert!(drawn.contains(">::1</text>") && drawn.contains(">127.0.0.1</text>"));
    }

    #[test]
    fn the_scale_reaches_the_highest_bar() {
        let summary = summary(&[(Column::Rr1, "d", 1.0), (Column::Rr1, "x", 1.23)]);
        assert!((highest(&summary, &["x"]) - 1.3).abs() < 1e-9);
        let panels = panels(&[("", &summary)]);
        assert!((panels[0].level(0.0) - (HEAD + ABOVE + HEIGHT)).abs() < 1e-9);
    }
}
