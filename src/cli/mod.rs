//! The command line: parses, prints, shows progress, and turns errors into exit codes.

mod adapters;
mod args;
mod ask;
mod completions;
mod config;
mod context;
mod data;
mod doctor;
mod encode;
mod eval;
mod eval_progress;
mod export;
mod fetch;
mod hub_env;
mod inspect;
mod meta_train;
mod pretrain;
mod progress;
mod publish;
mod ranks;
mod report;
mod serve;
mod signals;
mod start;
mod styled;
mod terminal;
mod units;

use std::{process::ExitCode, time::Instant};

use clap::{ColorChoice, Parser, ValueEnum, error::Error as Fault};
use perk::{
    Error,
    commands::follow::{dismiss, follow},
    config::Objective,
    error::shown,
    ranks::is_alone,
    report::{duration, gigabytes, peak_bytes},
};

use args::{Cli, Command, Manner};
use hub_env::hub_settings;
use terminal::Said;

/// Exit code of a configuration that cannot be used, as clap's for arguments.
const USAGE: u8 = 2;

/// The library makes panics of other libraries into errors: the error is what people should see.
fn keep_caught_panics_quiet() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !perk::panics::are_caught() {
            usual(panic);
        }
    }));
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    keep_caught_panics_quiet();
    choose_colours();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(fault) => return usage(&fault),
    };
    terminal::say(said(&cli.manner));
    colours(cli.manner.color).write_global();
    let began = Instant::now();
    match start_threads(&cli.command).and_then(|()| ranks::join()).and_then(|()| work(cli.command)) {
        Ok(code) => {
            terminal::detail(&cost(began));
            code
        }
        Err(error) => {
            // Of many ranks the one that failed says so, and rank 0.
            if ranks::ranks().rank() == 0 || !matches!(error, Error::Elsewhere { .. }) {
                terminal::complain(&format!("error: {error}"));
            }
            let code = if matches!(error, Error::Config { .. }) { USAGE } else { 1 };
            // The others would wait for this one for ever.
            if !is_alone(&**ranks::ranks()) {
                ranks::ranks().abort(code.into());
            }
            ExitCode::from(code)
        }
    }
}

/// Rank 0 runs the command; the others do what it tells them.
fn work(command: Command) -> perk::Result<ExitCode> {
    let all = ranks::ranks();
    let code = if all.rank() > 0 {
        // What is to stop stops at rank 0, which then tells the others.
        signals::listen(|| {});
        follow(all, &hub_settings())?;
        ExitCode::SUCCESS
    } else {
        let code = run(command)?;
        dismiss(&**all)?;
        code
    };
    all.end();
    Ok(code)
}

/// Colours of help and of what is wrong with arguments are chosen before the arguments are read.
fn choose_colours() {
    let words: Vec<String> = std::env::args().skip(1).take_while(|word| word != "--").collect();
    let asked = words.iter().enumerate().find_map(|(index, word)| match word.as_str() {
        "--color" => words.get(index + 1).map(String::as_str),
        word => word.strip_prefix("--color="),
    });
    if let Some(choice) = asked.and_then(|word| ColorChoice::from_str(word, false).ok()) {
        colours(choice).write_global();
    }
}

fn colours(choice: ColorChoice) -> anstream::ColorChoice {
    match choice {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
}

fn said(manner: &Manner) -> Said {
    match (manner.quiet, manner.verbose) {
        (true, _) => Said::Nothing,
        (false, true) => Said::More,
        (false, false) => Said::Usual,
    }
}

/// `took 1.2 s, at most 56 MB`
fn cost(began: Instant) -> String {
    let peak = peak_bytes().map_or_else(String::new, |bytes| format!(", at most {}", gigabytes(bytes)));
    format!("took {}{peak}", duration(began.elapsed().as_secs_f64()))
}

/// Starts the threads that tensors are computed by. They would start by themselves at their first use, and be a panic where
/// the system grants none.
fn start_threads(command: &Command) -> perk::Result<()> {
    let needs_none = matches!(
        command,
        Command::Adapters(_)
            | Command::Completions(_)
            | Command::Config(_)
            | Command::Data(_)
            | Command::Doctor(_)
            | Command::Fetch(_)
            | Command::Man(_)
            | Command::Report(_)
    );
    if needs_none {
        return Ok(());
    }
    rayon::ThreadPoolBuilder::new().build_global().map_err(|fault| {
        Error::Invalid(format!(
            "threads could not be started ({fault}): fewer are asked for with RAYON_NUM_THREADS, more allowed by the limits \
             of memory and processes (ulimit -v, -u)"
        ))
    })
}

fn run(command: Command) -> perk::Result<ExitCode> {
    match command {
        Command::MetaTrain(args) => meta_train::run(&args, Objective::Perk),
        Command::Finetune(args) => meta_train::run(&args, Objective::InContext),
        Command::Encode(args) => encode::run(&args),
        Command::Ask(args) => ask::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Adapters(args) => adapters::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Publish(args) => publish::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Pretrain(args) => pretrain::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    }
}

/// Help and version as clap prints them; what is wrong with an argument without what a terminal would act on, for it
/// is repeated in the message.
fn usage(fault: &Fault) -> ExitCode {
    if fault.use_stderr() {
        let mut text = fault.render().to_string();
        for argument in std::env::args_os().skip(1) {
            let argument = argument.to_string_lossy();
            let value = argument.split_once('=').map_or(&*argument, |(_, value)| value);
            let plain = shown(value);
            if plain != value {
                text = text.replace(value, &plain);
            }
        }
        terminal::complain(text.trim_end());
        return ExitCode::from(USAGE);
    }
    // A reader that has gone is no fault.
    drop(fault.print());
    ExitCode::SUCCESS
}
