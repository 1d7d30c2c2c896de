//! Progress for people: bars on a terminal, plain lines elsewhere. Both go to stderr.

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
    report::{EvalRecord, StepRecord},
};

use super::terminal;

/// Plain lines come at least this often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// And after this many steps.
const LINE_STEPS: usize = 10;

/// Shows a run's events.
pub struct Progress {
    stop: Arc<AtomicBool>,
    /// `None` where stderr is not a terminal.
    bars: Option<Bars>,
    state: Mutex<State>,
}

struct Bars {
    steps: ProgressBar,
    scoring: ProgressBar,
    _both: indicatif::MultiProgress,
}

/// What lines are made of.
struct State {
    steps: usize,
    first_step: usize,
    started: Instant,
    last_line: Option<Instant>,
    score: Option<f64>,
}

impl Progress {
    /// Progress on stderr; `stop` is what the run is told when it asks.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        let state = State { steps: 0, first_step: 0, started: Instant::now(), last_line: None, score: None };
        let bars = terminal::shows_bars().then(Bars::new);
        Self { stop, bars, state: Mutex::new(state) }
    }

    /// Takes the bars away.
    pub fn close(&self) {
        if let Some(bars) = &self.bars {
            bars.steps.finish();
            bars.scoring.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.steps.println(shown_lines(text)),
            None => terminal::note(text),
        }
    }

    fn stepped(&self, record: &StepRecord) {
        // A thread that panicked while it held the lock leaves nothing half done here.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bars) = &self.bars {
            bars.steps.set_position(record.step as u64);
            bars.steps.set_message(brief(record, state.score));
            return;
        }
        let waited = state.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        let is_due = waited || record.step.is_multiple_of(LINE_STEPS) || record.step == state.steps;
        if is_due || terminal::says_more() {
            state.last_line = Some(Instant::now());
            let (step, steps, eta) = (record.step, state.steps, state.eta(record.step));
            terminal::note(&format!("step {step}/{steps}  {}  eta {eta}", describe(record)));
        }
    }

    fn scored(&self, record: &EvalRecord) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.score = Some(record.exact_match);
        let percent = 100.0 * record.exact_match;
        let mut line =
            format!("step {}  exact match {percent:.1}% of {} held-out questions", record.step, record.n);
        if let Some(support) = &record.support {
            line += &format!("  facts recalled {:.1}%", 100.0 * support.recall);
        }
        self.line(&line);
    }

    fn scoring(&self, what: &str, done: usize, total: usize) {
        if let Some(bars) = &self.bars {
            bars.scoring.set_length(total as u64);
            bars.scoring.set_message(what.to_owned());
            bars.scoring.set_position(done as u64);
            if done == total {
                bars.scoring.reset();
                bars.scoring.set_message("");
            }
        } else if done == total && what.contains('×') {
            terminal::note(&format!("scored {what}: {total} episodes"));
        }
    }
}

impl State {
    fn eta(&self, step: usize) -> String {
        let done = step.saturating_sub(self.first_step).max(1);
        let left = self.steps.saturating_sub(step);
        let secs = self.started.elapsed().as_secs_f64() / done as f64 * left as f64;
        format!("{}:{:02}", secs as u64 / 60, secs as u64 % 60)
    }
}

impl Bars {
    fn new() -> Self {
        let both = indicatif::MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let steps = both.add(ProgressBar::new(0));
        steps.set_style(style("{bar:12} {pos}/{len}  eta {eta}  {wide_msg}"));
        let scoring = both.add(ProgressBar::new(0));
        scoring.set_style(style("{bar:12} {pos}/{len}  {wide_msg}"));
        Self { steps, scoring, _both: both }
    }
}

impl Observer for Progress {
    fn notice(&self, event: &Event<'_>) {
        match event {
            Event::Started { dir, step, steps, parameters } => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.steps, state.first_step, state.started) = (*steps, *step, Instant::now());
                let from = if *step > 0 { format!(", from step {step}") } else { String::new() };
                self.line(&format!(
                    "{}: {parameters} trained parameters, {steps} steps{from}",
                    dir.display()
                ));
                if let Some(bars) = &self.bars {
                    bars.steps.set_length(*steps as u64);
                    bars.steps.set_position(*step as u64);
                    bars.steps.reset_eta();
                }
            }
            Event::Stepped(record) => self.stepped(record),
            Event::Scoring { what, done, total } => self.scoring(what, *done, *total),
            Event::Scored(record) => self.scored(record),
            Event::Saved(path) if terminal::says_more() => self.line(&format!("saved {}", path.display())),
            Event::Saved(_) => {}
            Event::Note(text) => self.line(text),
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// One outer step in few words: beside a bar, most terminals have room for 50 letters.
fn brief(record: &StepRecord, score: Option<f64>) -> String {
    let score = score.map_or_else(String::new, |score| format!("match {:.1}%  ", 100.0 * score));
    format!(
        "{score}outer {:.3}  inner {:.3}→{:.3}  norm {:.2}",
        record.outer_loss, record.inner_loss_first, record.inner_loss_last, record.grad_norm
    )
}

/// One outer step in words.
fn describe(record: &StepRecord) -> String {
    format!(
        "inner loss {:.3}→{:.3}  outer loss {:.3}  gradient norm {:.2}",
        record.inner_loss_first, record.inner_loss_last, record.outer_loss, record.grad_norm
    )
}
