//! `perk inspect`.

use std::process::ExitCode;

use perk::{
    Error, Result,
    checkpoint::Lock,
    commands::{
        encode::EncodeEvent,
        inspect::{self, Given, Subject},
    },
    report::inspection::{Facts, Inspection, Kind, Missing, Reading, SegmentReading},
    report::{Heat, align, three_digits},
    store::Store,
};

use super::{args::Inspect, context, encode, hub_env::hub_settings, start, styled::Styled, terminal};

/// Tokens of a context that a page shows at most, unless all are wanted.
const PAGE_TOKENS: usize = 20_000;
/// The same for a terminal.
const TERMINAL_TOKENS: usize = 2_000;

/// Runs the command.
pub fn run(args: &Inspect) -> Result<ExitCode> {
    // What is written is reserved before anything slow is done for it.
    let reserved = args.html.as_deref().map(|path| Lock::take(path).map(|lock| (path, lock))).transpose()?;
    let subject = Subject::find(&args.subject, &Store::new(&args.store))?;
    let given = given(args)?;
    let mut progress = encode::Progress::default();
    let watch = &mut |event: &EncodeEvent<'_>| {
        progress.notice(event);
        Ok(())
    };
    let found = inspect::inspect(&subject, &given, &hub_settings(), watch);
    progress.close();
    let found = found?;
    let most = |usual| if args.all { usize::MAX } else { usual };
    if let Some((path, _lock)) = reserved {
        found.page(most(PAGE_TOKENS)).write(path)?;
        return terminal::print(&path.display().to_string()).map(|()| ExitCode::SUCCESS);
    }
    if args.json {
        let text = serde_json::to_string(&found);
        terminal::print_json(&text.map_err(|e| Error::Invalid(format!("what was found is no JSON: {e}")))?)?;
    } else {
        terminal::write_made(&text(&found, most(TERMINAL_TOKENS)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn given(args: &Inspect) -> Result<Given> {
    let start = start::named(args.checkpoint.as_deref(), args.untrained.as_deref(), &args.overrides)?;
    let context = match args.context.as_slice() {
        [] => None,
        paths => Some(context::read(paths, args.format)?),
    };
    let (encode, base) = (!args.no_encode, args.base.clone());
    Ok(Given { context, encode, start, base, compute: args.compute.into() })
}

/// What was found, for a terminal.
fn text(found: &Inspection, most_tokens: usize) -> String {
    let mut out = Styled::new();
    let what = match found.kind {
        Kind::Adapter => "adapter",
        Kind::Checkpoint => "checkpoint",
    };
    out.bold(&format!("{what} {}\n", found.subject));
    found.notes.iter().for_each(|note| out.plain(&format!("note: {note}\n")));
    found.facts.iter().for_each(|facts| add_facts(&mut out, facts));
    if let Some(lines) = found.losses_lines() {
        add_heading(&mut out, "Losses over the inner steps");
        out.plain(&align(&lines));
    }
    if let Some(reading) = &found.reading {
        let shown = reading.shown(most_tokens);
        add_context(&mut out, reading, &shown);
        add_heading(&mut out, "The tokens that count most");
        out.plain(&align(&found.heaviest_lines()));
        found.segment_heats(&shown).iter().for_each(|heat| add_heat(&mut out, heat));
    }
    found.norm_heat().iter().chain(&found.rate_heats()).for_each(|heat| add_heat(&mut out, heat));
    if !found.missing.is_empty() {
        add_heading(&mut out, "What is not shown");
    }
    for Missing { what, reason, advice } in &found.missing {
        out.plain(&format!("{what}:\n  {reason}\n  → {advice}\n"));
    }
    out.into_text()
}

fn add_heading(out: &mut Styled, text: &str) {
    out.bold(&format!("\n{text}\n"));
}

fn add_facts(out: &mut Styled, facts: &Facts) {
    add_heading(out, facts.name);
    let width = facts.entries.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in &facts.entries {
        out.faint(&format!("{name:<width$}"));
        out.plain(&format!("  {value}\n"));
    }
}

/// The text, every token on a ground as deep as its weight is large.
fn add_context(out: &mut Styled, reading: &Reading, shown: &[usize]) {
    let (most, _) = reading.most();
    add_heading(out, "The context");
    let mut legend = format!("the deepest ground is ω = {} before the first step", three_digits(most));
    if shown.len() < reading.segments.len() {
        let (part, all) = (shown.len(), reading.segments.len());
        legend += &format!("; of {all} segments, the {part} that count most (--all shows all)");
    }
    out.faint(&format!("{legend}\n"));
    for &index in shown {
        let SegmentReading { prefix, tokens, .. } = &reading.segments[index];
        out.faint(prefix);
        for token in tokens {
            let depth = if most > 0.0 { token.weight.before / most } else { 0.0 };
            out.shaded(&token.text, depth);
        }
        // A segment may end with a line break of its own.
        if !tokens.last().is_some_and(|token| token.text.ends_with('\n')) {
            out.plain("\n");
        }
    }
}

fn add_heat(out: &mut Styled, heat: &Heat) {
    add_heading(out, &heat.title);
    let width = |text: &str| text.chars().count();
    let number = |cell: &Option<f64>| cell.map_or_else(String::new, three_digits);
    let cells: Vec<Vec<String>> = heat.cells.iter().map(|line| line.iter().map(number).collect()).collect();
    let widths: Vec<usize> = heat
        .columns
        .iter()
        .enumerate()
        .map(|(column, name)| cells.iter().map(|line| width(&line[column])).fold(width(name), usize::max))
        .collect();
    let first = heat.lines.iter().map(|name| width(name)).fold(width(&heat.corner), usize::max);
    let head = heat.columns.iter().zip(&widths).map(|(name, width)| format!("  {name:>width$}"));
    out.faint(&format!("{:<first$}{}\n", heat.corner, head.collect::<String>()));
    for ((name, numbers), texts) in heat.lines.iter().zip(&heat.cells).zip(&cells) {
        out.faint(&format!("{name:<first$}"));
        for ((number, text), width) in numbers.iter().zip(texts).zip(&widths) {
            out.plain(" ");
            out.shaded(&format!(" {text:>width$}"), number.map_or(0.0, |number| heat.depth(number)));
        }
        out.plain("\n");
    }
}
