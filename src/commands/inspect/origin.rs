//! What an adapter was made of: whether its start and its context are still there.

use std::path::Path;

use crate::{
    checkpoint::Digest,
    commands::InnerStart,
    error::{Error, Result, shown_path},
    store::{Record, StoredAdapter},
    tasks::{Context, ContextFormat},
};

use super::Given;

/// Something that was looked for.
pub(super) enum Found<T> {
    /// It is there, and it is the one.
    There(T),
    /// It is not; why, and what to do.
    Missing(String, String),
}

/// The start that an adapter was encoded from: the one that was given, or the one where it was.
///
/// # Errors
/// One that was given and is another one.
pub(super) fn start_of(stored: &StoredAdapter, given: Option<&InnerStart>) -> Result<Found<InnerStart>> {
    let recorded = &stored.record.checkpoint;
    let differs = |found: &Digest| {
        format!("is {}…, and the adapter was encoded from {}…", found.short(), recorded.digest.short())
    };
    if let Some(start) = given {
        if start.identity.digest != recorded.digest {
            let path = start.identity.path.as_deref().unwrap_or(Path::new("--untrained"));
            return Err(Error::file(path, differs(&start.identity.digest)));
        }
        return Ok(Found::There(start.clone()));
    }
    let Some(path) = &recorded.path else {
        let reason = "the adapter was encoded from a configuration that was never meta-trained, and its folder does not keep it";
        let advice = "--untrained FILE (and --set) names that configuration";
        return Ok(Found::Missing(reason.to_owned(), advice.to_owned()));
    };
    let advice = "--checkpoint DIR says where the checkpoint is".to_owned();
    Ok(match InnerStart::open(path) {
        Ok(start) if start.identity.digest == recorded.digest => Found::There(start),
        Ok(start) => {
            let reason =
                format!("{} was trained on since: it {}", shown_path(path), differs(&start.identity.digest));
            Found::Missing(reason, advice)
        }
        Err(fault) => Found::Missing(fault.to_string(), advice),
    })
}

/// The context that an adapter was made of: the one that was given, or the files where they were.
///
/// # Errors
/// One that was given and is another one.
pub(super) fn context_of(stored: &StoredAdapter, given: &Given) -> Result<Found<Context>> {
    let record = &stored.record;
    if let Some(context) = &given.context {
        let found = Digest::of_texts(&context.documents);
        if found == record.context.digest {
            return Ok(Found::There(context.clone()));
        }
        return Err(Error::Invalid(format!(
            "{} is another context than the adapter was made of: it is {}…, and that was {}… ({})",
            context.sources.join(", "),
            found.short(),
            record.context.digest.short(),
            record.context.sources.join(", ")
        )));
    }
    let advice = format!(
        "the folder keeps the digest of the context alone; --context FILE gives the context, which is encoded again ({:.1} s \
         when the adapter was made)",
        record.cost.inner_secs
    );
    if !given.encode {
        return Ok(Found::Missing("it is encoded again, and --no-encode says not to".to_owned(), advice));
    }
    Ok(match look_for(record) {
        Some(context) => Found::There(context),
        None => {
            let names = record.context.sources.join(", ");
            Found::Missing(format!("{names}: not there, or not what was encoded"), advice)
        }
    })
}

/// The recorded files, if they still hold the context in one of the forms.
fn look_for(record: &Record) -> Option<Context> {
    let forms = [None, Some(ContextFormat::Text), Some(ContextFormat::Jsonl)];
    let read = |form| {
        let mut context = Context::default();
        let mut sources = record.context.sources.iter();
        let read = sources.try_for_each(|name| context.add_file(Path::new(name), form));
        (read.is_ok() && Digest::of_texts(&context.documents) == record.context.digest).then_some(context)
    };
    forms.into_iter().find_map(read)
}
