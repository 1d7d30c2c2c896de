//! `perk export`.

use std::process::ExitCode;

use perk::{
    Result,
    commands::export::{self, Form},
    commands::verify_export::verify,
    store::Store,
};

use super::{
    args::{Export, ExportForm},
    hub_env::hub_settings,
    terminal,
};

/// Runs the command; the exit code is 1 where what was written computes something else.
pub fn run(args: &Export) -> Result<ExitCode> {
    let form = match args.format {
        ExportForm::Peft => Form::Peft,
        ExportForm::Merged => Form::Merged,
        ExportForm::GgufLora => Form::GgufLora,
        ExportForm::MergedGguf => Form::MergedGguf,
    };
    let (hub, base) = (hub_settings(), args.base.as_deref());
    let stored = Store::new(&args.store).find(&args.adapter)?;
    let notes = export::export(&stored, form, &args.out, base, &hub)?;
    notes.iter().for_each(|note| terminal::note(note));
    if args.verify {
        let verified = verify(&stored, form, &args.out, base, &hub)?;
        let text = format!(
            "logits of {} prompts, {} positions, differ by {:.1e} at most; the largest is {:.1}, and {:.1e} of it is \
             allowed",
            verified.prompts,
            verified.positions,
            verified.largest_difference,
            verified.largest_logit,
            verified.tolerance
        );
        if !verified.holds() {
            terminal::note(&format!(
                "error: {}: does not compute what the adapter does: {text}",
                args.out.display()
            ));
            return Ok(ExitCode::FAILURE);
        }
        terminal::print(&text)?;
    }
    terminal::print(&args.out.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
