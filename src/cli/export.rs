//! `perk export`.

use std::process::ExitCode;

use perk::{
    Result,
    commands::export::{self, Form},
    commands::verify_export::{Verified, verify},
    store::Store,
};
use serde_json::{Value, json};

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
    if args.json {
        let verified = args.verify.then(|| verify(&stored, form, &args.out, base, &hub)).transpose()?;
        let is_good = verified.is_none_or(|verified| verified.holds());
        terminal::print_value(
            &json!({ "out": args.out, "verified": verified.map(as_json), "notes": notes }),
        )?;
        return Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
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
            terminal::complain(&format!(
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

fn as_json(verified: Verified) -> Value {
    json!({
        "holds": verified.holds(),
        "prompts": verified.prompts,
        "positions": verified.positions,
        "largest_difference": verified.largest_difference,
        "largest_logit": verified.largest_logit,
        "tolerance": verified.tolerance,
    })
}
