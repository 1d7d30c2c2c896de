//! `perk adapters`.

use std::{collections::HashMap, path::Path, process::ExitCode};

use perk::{
    Error, Result,
    checkpoint::Digest,
    error::{shown, shown_path},
    model::{BaseFiles, DecoderConfig},
    store::{Store, StoredAdapter},
};
use serde_json::json;

use super::{
    args::{Adapters, AdaptersAction},
    hub_env::hub_settings,
    terminal,
    units::gigabytes,
};

/// Runs the command.
pub fn run(args: &Adapters) -> Result<ExitCode> {
    match &args.action {
        AdaptersAction::List { store, json: true } => list_json(&Store::new(store))?,
        AdaptersAction::List { store, json: false } => list(&Store::new(store))?,
        AdaptersAction::Show(named) => {
            let stored = Store::new(&named.store).open(&named.name)?;
            let record = serde_json::to_string_pretty(&stored.record);
            terminal::print_json(
                &record.map_err(|e| Error::Invalid(format!("the record is no JSON: {e}")))?,
            )?;
        }
        AdaptersAction::Rm(named) => {
            let (dir, left) = Store::new(&named.store).remove(&named.name)?;
            let mut line = format!("removed {}", dir.display());
            if !left.is_empty() {
                let left: Vec<String> = left.iter().map(|name| shown_path(Path::new(name))).collect();
                line += &format!(", but for what is not perk's: {}", left.join(", "));
            }
            terminal::print(&line)?;
        }
        AdaptersAction::Verify { names, store, base, json } => {
            return verify(&Store::new(store), names, base.as_deref(), *json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(store: &Store) -> Result<()> {
    let found = listed(store)?;
    let width = found.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, stored) in &found {
        let line = match stored {
            Ok(stored) => describe(stored),
            Err(fault) => format!("damaged: {fault}"),
        };
        terminal::print(&shown(&format!("{name:<width$}  {line}")))?;
    }
    Ok(())
}

/// Name, folder and record of each, or what is wrong with it.
fn list_json(store: &Store) -> Result<()> {
    let one = |(name, stored): &(String, Result<StoredAdapter>)| match stored {
        Ok(stored) => json!({ "name": name, "dir": stored.dir, "record": stored.record }),
        Err(fault) => json!({ "name": name, "dir": store.dir().join(name), "fault": fault.to_string() }),
    };
    terminal::print_value(&listed(store)?.iter().map(one).collect())
}

/// The adapters of a store; that there are none is said.
fn listed(store: &Store) -> Result<Vec<(String, Result<StoredAdapter>)>> {
    let found = store.list()?;
    if found.is_empty() {
        terminal::note(&format!("{} holds no adapter: perk encode makes one", store.dir().display()));
    }
    Ok(found)
}

fn describe(stored: &StoredAdapter) -> String {
    let record = &stored.record;
    format!(
        "{:>8} tokens  {:>7}  on {}  from {}",
        record.context.tokens,
        gigabytes(record.adapter.bytes),
        record.base.model.base,
        record.context.sources.join(", "),
    )
}

/// Checks files and base of each, and says of each how it is; the exit code is 1 if one is not well.
fn verify(store: &Store, names: &[String], base: Option<&str>, as_json: bool) -> Result<ExitCode> {
    let chosen = match names {
        [] => listed(store)?,
        names => names.iter().map(|name| (name.clone(), store.open(name))).collect(),
    };
    let (mut bases, mut damaged, mut all) = (HashMap::new(), 0, Vec::new());
    for (name, stored) in chosen {
        let checked = stored.and_then(|stored| check(&stored, base, &mut bases));
        if as_json {
            damaged += usize::from(checked.is_err());
            let fault = checked.err().map(|fault| fault.to_string());
            all.push(json!({ "name": name, "ok": fault.is_none(), "fault": fault }));
            continue;
        }
        match checked {
            Ok(()) => terminal::print(&format!("{}: ok", shown(&name)))?,
            Err(fault) => {
                damaged += 1;
                terminal::complain(&format!("error: {}: {fault}", shown(&name)));
            }
        }
    }
    if as_json {
        terminal::print_value(&all.into())?;
    }
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tensors, files and base of one; a base is read once for all its adapters.
fn check(
    stored: &StoredAdapter,
    base: Option<&str>,
    bases: &mut HashMap<BaseFiles, (DecoderConfig, Digest)>,
) -> Result<()> {
    let files = stored.locate_base(base, &hub_settings())?.files;
    if !bases.contains_key(&files) {
        let known = (files.shape()?, files.digest()?);
        bases.insert(files.clone(), known);
    }
    let (shape, digest) = &bases[&files];
    stored.require_base(files.path(), digest)?;
    stored.check_tensors(shape)?;
    stored.verify()
}
