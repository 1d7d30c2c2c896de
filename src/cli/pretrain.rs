//! `perk pretrain`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use perk::Result;
use perk::commands::{PretrainObserver, PretrainStep, make_base};
use perk::config::PretrainConfig;

use super::args::Pretrain;

/// Steps between plain lines.
const LINE_STEPS: usize = 50;

/// Runs the command.
pub fn run(args: &Pretrain) -> Result<ExitCode> {
    let config = PretrainConfig::load(&args.config, &args.overrides)?;
    let folder = args.out.as_deref().unwrap_or(&config.run.dir);
    let mut progress = Progress::new(config.train.steps);
    let started = Instant::now();
    let base = make_base(&config, folder, &mut progress)?;
    let parameters: usize = base.named_tensors().iter().map(|(_, tensor)| tensor.elem_count()).sum();
    let (vocabulary, seconds) = (base.config.vocab_size, started.elapsed().as_secs_f64());
    println!("{parameters} parameters, {vocabulary} tokens, loss {:.3}, {seconds:.0} s", progress.loss);
    println!("{}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    loss: f64,
}

impl Progress {
    fn new(steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} eta {eta} {msg}");
            ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, loss: f64::NAN }
    }
}

impl PretrainObserver for Progress {
    fn step(&mut self, done: &PretrainStep) -> Result<()> {
        self.loss = done.loss;
        let PretrainStep { step, steps, loss, gradient_norm, .. } = *done;
        match &self.bar {
            Some(bar) => {
                bar.set_position(step as u64);
                bar.set_message(format!("loss {loss:.3}, gradient {gradient_norm:.2}"));
            }
            None if step.is_multiple_of(LINE_STEPS) || step == steps => {
                eprintln!("step {step}/{steps}, loss {loss:.3}, gradient {gradient_norm:.2}");
            }
            None => {}
        }
        Ok(())
    }
}
