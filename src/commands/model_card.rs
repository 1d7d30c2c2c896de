//! The model card beside an export: what it is made of, and how it is used.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{
    checkpoint::write_file,
    config::Place,
    error::{Error, Result, shown},
    files::{parse_json, read_text},
    report::RunResult,
    store::{Record, StoredAdapter},
};

use super::export::Form;

/// Name of a card, by which the hub finds it.
const CARD_FILE: &str = "README.md";
/// Only a file that holds this is a card of perk's, and may be replaced by one of the same export.
const MARK: &str = "<!-- perk export: ";

/// Writes the card of the export `name` into `folder`, unless a file of that name is there which is no card of the same
/// export. Returns whether it was written.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn write_card(folder: &Path, name: &str, card: &str) -> Result<bool> {
    let path = folder.join(CARD_FILE);
    let mark = mark(name);
    let is_there = path.symlink_metadata().is_ok();
    if is_there && !fs::read_to_string(&path).is_ok_and(|text| text.contains(&mark)) {
        return Ok(false);
    }
    write_file(&path, |out| out.write_all(card.as_bytes()).map_err(|source| Error::io(&path, source)))?;
    Ok(true)
}

fn mark(name: &str) -> String {
    format!("{MARK}{} -->", shown(name).replace("--", "- -"))
}

/// The card of an export called `name`, of an adapter for the base in folder `base`, which is called `place`.
pub(super) fn card(stored: &StoredAdapter, form: Form, name: &str, base: &Path, place: &Place) -> String {
    let record = &stored.record;
    let mut text = head(form, &place.for_transformers(), licence(base));
    text += &format!("{}\n\n# {}\n\n", mark(name), inline(name));
    text += match form {
        Form::Peft => "A LoRA adapter in PEFT's form",
        Form::Merged => "A base with a LoRA adapter added to its weights",
        Form::GgufLora => "A LoRA adapter in the form of llama.cpp",
        Form::MergedGguf => "A base with a LoRA adapter added to its weights, in the form of llama.cpp",
    };
    text += ", into which perk has written a text by a few gradient steps, so that the model answers questions about it \
             without the text in its prompt ([PERK](https://arxiv.org/abs/2507.06415)).\n\n";
    text += &table(record, place);
    text += &scores(record);
    text += &use_of(record);
    text
}

/// The fields that the hub reads. Strings of JSON are strings of YAML.
fn head(form: Form, base: &str, licence: Option<String>) -> String {
    let mut text = format!("---\nbase_model: {}\n", json!(base));
    match form {
        Form::Peft => text += "library_name: peft\n",
        Form::Merged => text += "library_name: transformers\n",
        Form::GgufLora | Form::MergedGguf => {}
    }
    if let Some(licence) = licence {
        text += &format!("license: {}\n", json!(licence));
    }
    text + "tags:\n- perk\n- lora\n- test-time-training\n---\n"
}

/// The licence that the head of the base's own card names.
fn licence(base: &Path) -> Option<String> {
    let card = fs::read_to_string(base.join(CARD_FILE)).ok()?;
    let head = card.strip_prefix("---\n")?.split("\n---").next()?;
    let value = head.lines().find_map(|line| line.strip_prefix("license:"))?.trim();
    let plain = value.trim_matches(['"', '\'']);
    (!plain.is_empty()).then(|| plain.to_owned())
}

fn table(record: &Record, place: &Place) -> String {
    let Record { base, checkpoint, context, recipe, losses, .. } = record;
    let sources: Vec<String> = context.sources.iter().map(|name| file_name(name)).collect();
    let start = match checkpoint.path {
        Some(_) => format!(
            "meta-trained for {} outer steps ({}…)",
            checkpoint.outer_steps,
            checkpoint.digest.short()
        ),
        None => "never meta-trained".to_owned(),
    };
    let inner = &recipe.inner;
    let rows = [
        ("base", format!("{} ({}…)", inline(&place.for_transformers()), base.digest.short())),
        (
            "text",
            format!(
                "{}: {} tokens in {} segments, {} bytes ({}…)",
                sources.join(", "),
                context.tokens,
                context.segments,
                context.bytes,
                context.digest.short()
            ),
        ),
        ("start", start),
        ("inner loop", format!("{} steps, segments of up to {} tokens", inner.steps, recipe.segment_tokens)),
        (
            "adapter",
            format!(
                "rank {}, alpha {}, {}",
                recipe.lora.rank,
                recipe.lora.alpha,
                recipe.lora.targets.join(", ")
            ),
        ),
        ("inner loss", ends(&losses.inner)),
        ("next token, nats", ends(&losses.cross_entropy)),
        ("made with", format!("perk {}", inline(&record.perk_version))),
    ];
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text + "\n"
}

fn ends(losses: &[f64]) -> String {
    match losses {
        [first, .., last] => format!("{first:.3} before the first step, {last:.3} after the last"),
        _ => "not known".to_owned(),
    }
}

/// Held-out scores of the run that the adapter started from, where it is still there and came to its end.
fn scores(record: &Record) -> String {
    let run = record.checkpoint.path.as_deref().and_then(run_of);
    let Some(result) = run.and_then(|run| result_of(&run)) else { return String::new() };
    let mut text = "Exact match of its start on held-out texts of its training's kind, not on this text:\n\n\
                    | method | times the trained length | exact match | questions |\n|---|---|---|---|\n"
        .to_owned();
    for row in &result.evaluation.rows {
        let length = row.cell.length.map_or_else(|| "as they are".to_owned(), |length| length.to_string());
        let _ = writeln!(text, "| {} | {length} | {:.1}% | {} |", row.method, 100.0 * row.score, row.samples);
    }
    text + "\n"
}

/// `runs/a` of `runs/a/checkpoints/last`.
fn run_of(checkpoint: &Path) -> Option<PathBuf> {
    checkpoint.parent()?.parent().map(Path::to_owned)
}

/// A card says nothing of scores that cannot be read.
fn result_of(run: &Path) -> Option<RunResult> {
    let path = run.join("result.json");
    parse_json(&path, &read_text(&path).ok()?).ok()
}

fn use_of(record: &Record) -> String {
    let Record { base, recipe, context, .. } = record;
    let mut text = "## To ask it\n\nIt answers in the form that it was trained on:\n\n".to_owned();
    let prompt = recipe.prompt.replace("{documents}", &context.segments.to_string());
    text += &block(&prompt);
    if let Some(chat) = &recipe.chat_template {
        text += "That is the user's message, without `{answer}`, in this conversation:\n\n";
        text += &block(chat);
    }
    let tokens = [("begins with", &base.model.begin_token), ("ends with", &base.model.end_token)];
    for (what, token) in tokens {
        if let Some(token) = token.as_deref().filter(|token| !token.is_empty()) {
            let whose = if what == "begins with" { "A text" } else { "An answer" };
            let _ = writeln!(text, "{whose} {what} the token {}.", code(token));
        }
    }
    text
}

/// Lines as they are, whatever is in them.
fn block(text: &str) -> String {
    let lines = text.lines().map(|line| format!("    {}\n", shown(line)));
    lines.chain(["\n".to_owned()]).collect()
}

fn code(text: &str) -> String {
    format!("`{}`", shown(text).replace('`', "'"))
}

/// A name from outside in a line of Markdown or a cell of a table.
fn inline(text: &str) -> String {
    let special = |c| matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!');
    shown(text).chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Where a text lay is nobody's business.
fn file_name(source: &str) -> String {
    let name = Path::new(source).file_name().map_or(source.into(), |name| name.to_string_lossy());
    inline(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_replaces_one_of_the_same_export_and_nothing_else() {
        let room = tempfile::tempdir().unwrap();
        let card =
            |name: &str, text: &str| write_card(room.path(), name, &format!("{}{text}", mark(name))).unwrap();
        let read = || fs::read_to_string(room.path().join(CARD_FILE)).unwrap();
        assert!(card("a", "1") && card("a", "2"));
        assert!(read().ends_with('2'));
        assert!(!card("b", "3"));
        fs::write(room.path().join(CARD_FILE), "# mine").unwrap();
        assert!(!card("a", "4"));
        assert_eq!(read(), "# mine");
        fs::remove_file(room.path().join(CARD_FILE)).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("nowhere", room.path().join(CARD_FILE)).unwrap();
            assert!(!card("a", "5"));
        }
    }

    #[test]
    fn the_licence_is_what_the_head_of_the_bases_card_says() {
        let room = tempfile::tempdir().unwrap();
        let licence_of = |text: &str| {
            fs::write(room.path().join(CARD_FILE), text).unwrap();
            licence(room.path())
        };
        assert_eq!(
            licence_of("---\nlanguage: en\nlicense: apache-2.0\n---\n# x").as_deref(),
            Some("apache-2.0")
        );
        assert_eq!(licence_of("---\nlicense: \"llama3.1\"\n---\n").as_deref(), Some("llama3.1"));
        for none in ["", "license: mit", "---\nlicense:\n---\n", "---\nx: y\n---\nlicense: mit"] {
            assert_eq!(licence_of(none), None, "{none:?}");
        }
    }

    #[test]
    fn names_from_outside_are_names_and_no_markdown() {
        assert_eq!(inline("a|b [c](d) <e>\n\u{1b}"), "a\\|b \\[c\\](d) \\<e\\>\\\\n\\\\u{1b}");
        assert_eq!(file_name("/home/me/my_story.txt"), "my\\_story.txt");
        assert_eq!(code("`x`"), "`'x'`");
        assert_eq!(mark("a --> b"), "<!-- perk export: a - -> b -->");
    }
}
