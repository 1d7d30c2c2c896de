//! `perk encode`.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use indicatif::{ProgressBar, ProgressStyle};
use perk::{
    Result,
    commands::encode::{self, Changes, Destination, EncodeEvent, Encoded},
    error::shown_lines,
    report::peak_bytes,
    tasks::Context,
};

use serde_json::json;

use super::{
    args::{Encode, HowToEncode},
    context,
    hub_env::hub_settings,
    ranks::ranks,
    terminal,
    units::{duration, gigabytes},
};

/// Finer than a terminal's bar has places.
const PARTS: f64 = 1000.0;

/// Runs the command.
pub fn run(args: &Encode) -> Result<ExitCode> {
    let began = Instant::now();
    let context = context::read(&args.context, args.how.format)?;
    let encoded = encode(&args.how, args.out.clone(), &context)?;
    if args.json {
        let (dir, record) = (&encoded.stored.dir, &encoded.stored.record);
        terminal::print_value(&json!({ "dir": dir, "reused": encoded.reused, "record": record }))?;
    } else {
        terminal::print(&summary(&encoded, began.elapsed().as_secs_f64()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Encodes `context` and shows how it goes on.
pub fn encode(how: &HowToEncode, out: Option<PathBuf>, context: &Context) -> Result<Encoded> {
    let start = how.start.open()?;
    let changes = Changes {
        steps: how.steps,
        micro_batch: how.micro_batch,
        segment_tokens: how.segment_tokens,
        base: how.base.clone(),
        compute: how.compute.into(),
    };
    let to = Destination { out, store: how.store.clone(), force: how.force };
    let mut progress = Progress::default();
    let watch = &mut |event: &EncodeEvent<'_>| {
        progress.notice(event);
        Ok(())
    };
    let encoded = encode::encode(&start, &changes, context, &to, &hub_settings(), ranks(), watch);
    progress.close();
    encoded
}

/// What was written, and what it took.
fn summary(encoded: &Encoded, secs: f64) -> String {
    let record = &encoded.stored.record;
    let dir = encoded.stored.dir.display();
    let size = gigabytes(record.adapter.bytes);
    let ends = |losses: &[f64]| match losses {
        [first, .., last] => format!("{first:.3} → {last:.3}"),
        _ => String::new(),
    };
    let what = &record.context;
    let cost = if encoded.reused {
        "encoded before with the same base, checkpoint and settings: reused (--force encodes again)"
            .to_owned()
    } else {
        let peak = peak_bytes().map_or_else(String::new, |bytes| format!(", at most {}", gigabytes(bytes)));
        let inner = duration(record.cost.inner_secs);
        let rate = record.cost.tokens_per_sec;
        format!("{} in all, {inner} of it in inner steps ({rate:.0} tokens/s){peak}", duration(secs))
    };
    format!(
        "context     {} tokens in {} segments, {} bytes\n\
         inner loss  {}\n\
         next token  {} nats\n\
         cost        {cost}\n\
         adapter     {size}\n\n{dir}",
        what.tokens,
        what.segments,
        what.bytes,
        ends(&record.losses.inner),
        ends(&record.losses.cross_entropy),
    )
}

/// A bar on a terminal, a line a step elsewhere; both on stderr.
#[derive(Default)]
pub struct Progress {
    bar: Option<ProgressBar>,
    steps: usize,
}

impl Progress {
    /// Shows an event.
    pub fn notice(&mut self, event: &EncodeEvent<'_>) {
        match event {
            EncodeEvent::Begun { checkpoint, tokens, segments, steps } => {
                self.steps = *steps;
                let from = match &checkpoint.path {
                    Some(path) => format!("{} ({} outer steps)", path.display(), checkpoint.outer_steps),
                    None => "a start that was never meta-trained".to_owned(),
                };
                self.line(&format!(
                    "{tokens} tokens in {segments} segments, {steps} inner steps from {from}"
                ));
                // The loss after the last step is one more part.
                self.bar = terminal::shows_bars().then(|| bar((PARTS * (*steps + 1) as f64) as u64));
            }
            EncodeEvent::Progress { step, share } => {
                if let Some(bar) = &self.bar {
                    bar.set_position((PARTS * (*step as f64 + share)) as u64);
                }
            }
            EncodeEvent::Step { step, before, tokens_per_sec } => {
                let (inner, plain) = (before.loss, before.cross_entropy);
                self.line(&format!(
                    "step {}/{}  inner loss {inner:.3}  next token {plain:.3} nats  {tokens_per_sec:.0} tokens/s",
                    step + 1,
                    self.steps
                ));
            }
            EncodeEvent::Note(text) => self.line(text),
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(shown_lines(text)),
            None => terminal::note(text),
        }
    }

    /// Takes the bar away.
    pub fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar of so many parts; hidden where stderr is not a terminal.
pub fn bar(parts: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {percent}%  eta {eta}");
    ProgressBar::new(parts).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
