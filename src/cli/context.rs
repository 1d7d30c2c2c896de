//! Contexts from files and from standard input.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use perk::{
    Error, Result,
    tasks::{Context, ContextFormat},
};

use super::args::ContextForm;

/// Stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Reads the files in order.
pub fn read(paths: &[PathBuf], form: Option<ContextForm>) -> Result<Context> {
    let format = form.map(|form| match form {
        ContextForm::Text => ContextFormat::Text,
        ContextForm::Jsonl => ContextFormat::Jsonl,
    });
    let mut context = Context::default();
    for path in paths {
        if path == Path::new(STANDARD_INPUT) {
            let (name, mut bytes) = (Path::new("standard input"), Vec::new());
            std::io::stdin().lock().read_to_end(&mut bytes).map_err(|e| Error::io(name, e))?;
            context.add(name, &bytes, format.unwrap_or(ContextFormat::Text))?;
        } else {
            context.add_file(path, format)?;
        }
    }
    Ok(context)
}
