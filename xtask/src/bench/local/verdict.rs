//! What the connect hooks have to reach, and whether they did.

use super::Local;
use super::way::Path;
use crate::bench::column::Column;
use crate::bench::verdict::{Requirement, above_floor};

/// Ratios to the direct path. Once a connection is there, nothing of ours is on its way; a new one
/// is looked up, remembered and forgotten.
pub(super) const FLOORS: [(Column, f64); 5] = [
    (Column::Bulk1Up, 0.97),
    (Column::Bulk1Down, 0.97),
    (Column::Rr1, 0.97),
    (Column::Rr32, 0.97),
    (Column::Connections, 0.93),
];

/// Everything that can be judged from what was measured.
pub(crate) fn judge(found: &Local) -> Vec<Requirement> {
    let loopback = found.paths.iter().filter(|(path, _)| *path != Path::Address);
    let judged = loopback.flat_map(|(path, summary)| {
        let columns = summary.columns.iter();
        columns
            .filter_map(|column| above_floor(summary, *column, &FLOORS))
            .map(|it| Requirement { text: format!("{}, {}", path.name(), it.text), ..it })
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::summary::tests::summary;

    #[test]
    fn loopback_is_to_be_as_fast_as_the_direct_path() {
        let figures = |ours| {
            summary(&[
                (Column::Rr1, "direct", 1.0),
                (Column::Rr1, "ours", ours),
                (Column::Rr1, "relay", 0.5),
            ])
        };
        let paths = vec![
            (Path::Loopback4, figures(0.98)),
            (Path::Loopback6, figures(0.96)),
            (Path::Address, figures(0.1)),
        ];
        let judged = judge(&Local { paths, ..Local::default() });
        assert_eq!(judged.iter().map(|it| it.met).collect::<Vec<_>>(), [true, false]);
        assert!(judged[0].text.starts_with("127.0.0.1, rr64x1"));
    }
}
