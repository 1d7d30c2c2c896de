//! `perk export`.

use std::process::ExitCode;

use perk::{
    Result,
    commands::export::{self, Form},
    store::Store,
};

use super::{
    args::{Export, ExportForm},
    hub_env::hub_settings,
    terminal,
};

/// Runs the command.
pub fn run(args: &Export) -> Result<ExitCode> {
    let form = match args.format {
        ExportForm::Peft => Form::Peft,
        ExportForm::Merged => Form::Merged,
        ExportForm::GgufLora => Form::GgufLora,
    };
    let stored = Store::new(&args.store).find(&args.adapter)?;
    let note = export::export(&stored, form, &args.out, args.base.as_deref(), &hub_settings())?;
    note.iter().for_each(|note| terminal::note(note));
    terminal::print(&args.out.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
