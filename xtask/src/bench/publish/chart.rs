//! Publishing and taking down many ports as a bar chart in SVG, on a logarithmic scale: there are
//! three orders of magnitude between the first and the last.

use super::many::{Case, Many};
use crate::bench::engine::Kind;

const COLOURS: [(Kind, &str); 4] = [
    (Kind::Live, "#0b6e99"),
    (Kind::Ours, "#5a9fbd"),
    (Kind::Podman, "#c9b27c"),
    (Kind::Docker, "#c8a2a2"),
];

const WIDTH: f64 = 720.0;
/// Where bars begin, and how long the longest may be.
const LEFT: f64 = 130.0;
const SPAN: f64 = 520.0;
const TOP: f64 = 40.0;
const BAR: f64 = 20.0;
const HEAD: f64 = 26.0;
/// The scale, in powers of ten of seconds.
const LOW: i32 = -3;
const HIGH: i32 = 3;

/// Draws a group of bars for each case.
pub(crate) fn draw(all: &[Many]) -> String {
    let groups = [Case::Scattered, Case::Range]
        .map(|case| (case, all.iter().filter(move |many| many.case == case).collect::<Vec<_>>()));
    let rows: usize = groups.iter().map(|(_, rows)| rows.len()).sum();
    let bottom = TOP + HEAD * groups.len() as f64 + BAR * rows as f64;
    let mut text = head(bottom);
    let mut y = TOP;
    for (case, rows) in groups {
        text += &format!(
            "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"bold\">{}</text>\n",
            y + 18.0,
            case.name()
        );
        y += HEAD;
        for many in rows {
            text += &bar(many, y);
            y += BAR;
        }
    }
    text + "</svg>\n"
}

fn head(bottom: f64) -> String {
    let height = bottom + 30.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#333\">\n\
         <rect width=\"{WIDTH:.0}\" height=\"{height:.0}\" fill=\"#fff\"/>\n\
         <text x=\"20\" y=\"22\" font-size=\"14\">Publishing and taking down, seconds \
         (logarithmic scale)</text>\n"
    );
    for power in LOW..=HIGH {
        let x = LEFT + length(10f64.powi(power));
        let mark = 10f64.powi(power);
        text += &format!(
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP:.0}\" y2=\"{bottom:.0}\" \
             stroke=\"#ddd\"/>\n<text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{mark}\
             </text>\n",
            bottom + 16.0
        );
    }
    text
}

fn bar(many: &Many, y: f64) -> String {
    let seconds = many.both();
    let colour = COLOURS.iter().find(|(kind, _)| *kind == many.kind).map_or("#333", |it| it.1);
    let (name, long, ports) = (many.kind.name(), length(seconds), many.ports);
    let shown = if seconds < 10.0 { format!("{seconds:.2}") } else { format!("{seconds:.0}") };
    // Whoever was given fewer ports says so.
    let fewer = match many.case {
        Case::Range if many.kind == Kind::Docker => format!(" for {ports} ports"),
        _ => String::new(),
    };
    let (baseline, height, end) = (y + 13.0, BAR - 4.0, LEFT + long + 6.0);
    format!(
        "<text x=\"{:.0}\" y=\"{baseline:.1}\" text-anchor=\"end\">{name}</text>\n\
         <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"{height}\" \
         fill=\"{colour}\"><title>{name}, {ports} ports: {shown} s</title></rect>\n\
         <text x=\"{end:.1}\" y=\"{baseline:.1}\">{shown} s{fewer}</text>\n",
        LEFT - 8.0
    )
}

/// How long the bar for so many seconds is.
fn length(seconds: f64) -> f64 {
    let powers = f64::from(HIGH - LOW);
    let place = (seconds.max(f64::MIN_POSITIVE).log10() - f64::from(LOW)) / powers;
    SPAN * place.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_is_a_bar() {
        let all =
            [Many::of(Case::Scattered, Kind::Ours, 0.5), Many::of(Case::Range, Kind::Docker, 80.0)];
        let drawn = draw(&all);
        assert_eq!(drawn.matches("<title>").count(), 2);
        assert!(drawn.contains("80 s for 1000 ports") && drawn.ends_with("</svg>\n"));
    }

    #[test]
    fn ten_times_as_long_is_a_step() {
        let step = length(10.0) - length(1.0);
        assert!((length(1.0) - length(0.1) - step).abs() < 1e-9);
        assert!(length(0.0).abs() < 1e-9 && (length(1e9) - SPAN).abs() < 1e-9);
    }
}
