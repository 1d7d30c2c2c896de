//! How an evaluation goes on: a bar on a terminal, a line a cell elsewhere, both with the time left.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use perk::{
    commands::{Event, Observer},
    error::shown_lines,
};

use super::{terminal, units::duration};

/// Plain lines come at least this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows an evaluation's events on stderr.
pub struct EvalProgress {
    stop: Arc<AtomicBool>,
    /// `None` where stderr is not a terminal.
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

/// What lines are made of.
struct State {
    /// When the first answer of this process came, and how many there were then.
    first: Option<(Instant, usize)>,
    what: String,
    last_line: Instant,
}

impl EvalProgress {
    /// Progress; `stop` is what the evaluation is told when it asks.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  eta {eta}  {wide_msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = terminal::shows_bars().then(|| ProgressBar::new(0).with_style(style));
        let state = State { first: None, what: String::new(), last_line: Instant::now() };
        Self { stop, bar, state: Mutex::new(state) }
    }

    /// Takes the bar away.
    pub fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn asked(&self, what: &str, done: usize, total: usize) {
        // A thread that panicked while it held the lock leaves nothing half done here.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *state.first.get_or_insert_with(|| (Instant::now(), done));
        if let Some(bar) = &self.bar {
            if bar.length() != Some(total as u64) {
                // What was answered before counts for nothing in the time that is left.
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                bar.reset_eta();
            }
            bar.set_position(done as u64);
            bar.set_message(what.to_owned());
            return;
        }
        if state.what != what || state.last_line.elapsed() >= LINE_EVERY || done == total {
            what.clone_into(&mut state.what);
            state.last_line = Instant::now();
            terminal::note(&format!("{done}/{total}  {what}{}", eta(first, done, total)));
        }
    }
}

/// What is left at the speed so far; nothing before the second answer.
fn eta((start, before): (Instant, usize), done: usize, total: usize) -> String {
    let asked = done.saturating_sub(before);
    if asked == 0 {
        return String::new();
    }
    let secs = start.elapsed().as_secs_f64() / asked as f64 * total.saturating_sub(done) as f64;
    format!("  eta {}", duration(secs))
}

impl Observer for EvalProgress {
    fn notice(&self, event: &Event<'_>) {
        match event {
            Event::Scoring { what, done, total } => self.asked(what, *done, *total),
            Event::Note(text) => match &self.bar {
                Some(bar) => bar.println(shown_lines(text)),
                None => terminal::note(text),
            },
            _ => {}
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}
