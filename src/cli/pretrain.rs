//! `perk pretrain`.

use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use perk::{
    Result,
    commands::make_base,
    config::BaseRecipe,
    pretrain::{PretrainObserver, PretrainStep},
};

use super::{args::Pretrain, terminal};

/// Plain lines come after this many steps.
const LINE_STEPS: usize = 25;

/// Runs the command.
pub fn run(args: &Pretrain) -> Result<ExitCode> {
    let mut recipe = BaseRecipe::load(&args.config, &args.overrides)?;
    if let Some(dir) = &args.out {
        recipe.run.dir.clone_from(dir);
    }
    let mut progress = Progress { bar: terminal::shows_bars().then(bar) };
    make_base(&recipe, &recipe.run.dir, &mut progress)?;
    terminal::print(&recipe.run.dir.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn bar() -> ProgressBar {
    let template = "{bar:24} {pos}/{len}  eta {eta}  {wide_msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

struct Progress {
    /// `None` where stderr is not a terminal.
    bar: Option<ProgressBar>,
}

impl PretrainObserver for Progress {
    fn step(&mut self, done: &PretrainStep) -> Result<()> {
        let numbers = format!("loss {:.3}  gradient norm {:.2}", done.loss, done.gradient_norm);
        match &self.bar {
            Some(bar) => {
                bar.set_length(done.steps as u64);
                bar.set_position(done.step as u64);
                bar.set_message(numbers);
            }
            None if done.step.is_multiple_of(LINE_STEPS)
                || done.step == done.steps
                || terminal::says_more() =>
            {
                terminal::note(&format!("step {}/{}  {numbers}", done.step, done.steps));
            }
            None => {}
        }
        Ok(())
    }
}
