//! `perk fetch`, and the bar of every download.

use std::{
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use indicatif::{ProgressBar, ProgressStyle};
use perk::{
    Result,
    commands::fetch::fetch,
    error::shown,
    model::{CheckedFile, FetchProgress, FetchWatch},
};
use serde_json::{Value, json};

use super::{args::Fetch, hub_env::hub_settings, terminal, units::gigabytes};

/// Runs the command.
pub fn run(args: &Fetch) -> Result<ExitCode> {
    let fetched = fetch(&args.base, args.revision.as_deref(), &hub_settings())?;
    if args.json {
        let file = |file: &CheckedFile| json!({ "name": file.name, "bytes": file.bytes, "has_digest": file.has_digest });
        let files: Value = fetched.files.iter().map(file).collect();
        terminal::print_value(&json!({ "path": fetched.base.files.path(), "files": files }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = fetched.files.iter().map(|file| file.name.chars().count()).max().unwrap_or(0);
    for file in &fetched.files {
        let digest = if file.has_digest { "  SHA-256 ok" } else { "" };
        terminal::print(&format!("{:<width$}  {:>8}{digest}", shown(&file.name), gigabytes(file.bytes)))?;
    }
    terminal::print(&format!("\n{}", fetched.base.files.path().display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows every download on stderr: a bar a file on a terminal, a line a file elsewhere.
pub fn watch() -> FetchWatch {
    let current: Mutex<Option<Shown>> = Mutex::new(None);
    FetchWatch::new(move |progress| {
        // A thread that panicked while it held the lock leaves nothing half done here.
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref().filter(|shown| shown.file == progress.file) {
            Some(shown) => shown.advance(progress),
            None => *current = Some(Shown::begin(progress)),
        }
    })
}

/// The download that is shown.
struct Shown {
    file: String,
    bar: Option<ProgressBar>,
}

impl Shown {
    fn begin(progress: &FetchProgress<'_>) -> Self {
        let file = progress.file.to_owned();
        let size = gigabytes(progress.bytes);
        if !terminal::shows_bars() {
            let there = match progress.done_bytes {
                0 => String::new(),
                bytes => format!(", {} of it there before", gigabytes(bytes)),
            };
            terminal::note(&format!("fetching {} ({size}{there})", shown(&file)));
            return Self { file, bar: None };
        }
        let style =
            ProgressStyle::with_template("{bar:24} {percent}% of {msg}  {binary_bytes_per_sec}  eta {eta}");
        let bar = ProgressBar::new(progress.bytes)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_message(format!("{}, {size}", shown(&file)))
            .with_position(progress.done_bytes);
        Self { file, bar: Some(bar) }
    }

    fn advance(&self, progress: &FetchProgress<'_>) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(progress.done_bytes);
        if progress.done_bytes >= progress.bytes {
            bar.finish_and_clear();
        }
    }
}
