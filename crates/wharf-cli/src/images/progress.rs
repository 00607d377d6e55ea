//! How a pull is shown: a bar for each layer on a terminal, otherwise a line for each step.

use std::collections::HashMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use wharf_api::LayerState;

use super::pull::{Channel, Shown};
use crate::failure::{Exit, print_line};
use crate::ports::size;

const BAR: &str = "{prefix}: {msg:17} [{bar:40}] {bytes}/{total_bytes}";
const TEXT: &str = "{prefix}: {msg}";
/// Drawing more often makes terminals flicker.
const FRAMES: u8 = 10;

/// What is on the screen.
pub(super) struct Progress {
    shown: Shown,
    all: MultiProgress,
    bars: HashMap<String, ProgressBar>,
    states: HashMap<String, LayerState>,
}

// === impl Progress ===

impl Progress {
    pub(super) fn new(shown: Shown) -> Self {
        let target = match shown {
            Shown::Bars(Channel::Output) => ProgressDrawTarget::stdout_with_hz(FRAMES),
            Shown::Bars(Channel::Error) => ProgressDrawTarget::stderr_with_hz(FRAMES),
            _ => ProgressDrawTarget::hidden(),
        };
        let all = MultiProgress::with_draw_target(target);
        Self { shown, all, bars: HashMap::new(), states: HashMap::new() }
    }

    /// Shows a line that stays.
    pub(super) fn line(&self, text: &str) -> Result<(), Exit> {
        match self.shown {
            Shown::Nothing => Ok(()),
            Shown::Lines(Channel::Output) | Shown::Bars(Channel::Output) => print_line(text),
            Shown::Lines(Channel::Error) | Shown::Bars(Channel::Error) => {
                eprintln!("{text}");
                Ok(())
            }
        }
    }

    /// Shows how far a layer is.
    pub(super) fn layer(
        &mut self,
        id: &str,
        state: LayerState,
        (current, total): (u64, u64),
        detail: Option<&str>,
    ) -> Result<(), Exit> {
        if matches!(self.shown, Shown::Bars(_)) {
            self.draw(id, state, (current, total), detail);
            return Ok(());
        }
        // A line for each step, not for each byte.
        let is_new = self.states.insert(id.to_owned(), state) != Some(state);
        match detail {
            Some(detail) => self.line(&format!("{id}: {}: {detail}", words(state))),
            None if is_new && state == LayerState::Downloading => {
                self.line(&format!("{id}: {} {}", words(state), size(total)))
            }
            None if is_new => self.line(&format!("{id}: {}", words(state))),
            None => Ok(()),
        }
    }

    fn draw(
        &mut self,
        id: &str,
        state: LayerState,
        (current, total): (u64, u64),
        detail: Option<&str>,
    ) {
        let all = &self.all;
        let bar = self
            .bars
            .entry(id.to_owned())
            .or_insert_with(|| all.add(ProgressBar::new(0).with_prefix(id.to_owned())));
        let moves = state == LayerState::Downloading;
        let template = if moves { BAR } else { TEXT };
        // Both are constants; without a style of ours the crate's own is drawn.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        match detail {
            Some(detail) => bar.set_message(format!("{}: {detail}", words(state))),
            None => bar.set_message(words(state)),
        }
        if moves {
            bar.set_length(total);
            bar.set_position(current);
        }
        if matches!(state, LayerState::Done | LayerState::Exists) {
            bar.finish();
        } else {
            bar.tick();
        }
    }

    /// Leaves what is on the screen.
    pub(super) fn end(&mut self) {
        for bar in self.bars.values().filter(|bar| !bar.is_finished()) {
            bar.abandon();
        }
    }
}

/// Docker's words.
fn words(state: LayerState) -> &'static str {
    match state {
        LayerState::Waiting => "Pulling fs layer",
        LayerState::Downloading => "Downloading",
        LayerState::Retrying => "Retrying",
        LayerState::Downloaded => "Download complete",
        LayerState::Extracting => "Extracting",
        LayerState::Done => "Pull complete",
        LayerState::Exists => "Already exists",
    }
}
