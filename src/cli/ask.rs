//! `perk ask`.

use std::{
    io::{BufRead, IsTerminal},
    process::ExitCode,
};

use perk::{
    Error, Result,
    commands::{
        ask::{Access, Answerer, Memory},
        questions::{self, Reserved},
    },
    eval::Reply,
    files::without_mark,
    model::{Decoding, Sampling},
    store::Store,
};
use rustyline::{DefaultEditor, error::ReadlineError};
use serde_json::{Value, json};

use super::{
    args::{Ask, Choice},
    context, encode,
    hub_env::hub_settings,
    terminal,
};

/// Stands before a question that is typed.
const PROMPT: &str = "? ";

/// Runs the command.
pub fn run(args: &Ask) -> Result<ExitCode> {
    // What cannot be used is said before the base is loaded.
    let in_context = match args.in_context.as_slice() {
        [] => None,
        paths => Some(context::read(paths, args.how.format)?.joined()),
    };
    let questions = args.questions.as_ref().map(|path| questions::read(path)).transpose()?;
    sampling(&args.choice).check()?;
    let reserved = args.out.as_deref().map(Reserved::new).transpose()?;
    let memory = open(args)?;
    memory.notes.iter().for_each(|note| terminal::note(note));
    let mut panel = Panel::new(args, &memory, in_context.as_deref())?;
    match (&args.question, questions) {
        (Some(question), _) => panel.answer(question)?,
        (None, Some(questions)) => batch(args, reserved, &mut panel, &questions)?,
        (None, None) if std::io::stdin().is_terminal() => panel.converse()?,
        (None, None) => {
            for line in std::io::stdin().lock().lines() {
                let line = line.map_err(|e| Error::io("standard input", e))?;
                let question = without_mark(&line);
                if !question.trim().is_empty() {
                    panel.answer(question)?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The adapter that was named, or that of the context.
fn open(args: &Ask) -> Result<Memory> {
    let (hub, base) = (hub_settings(), args.how.base.as_deref());
    if let Some(name) = &args.adapter {
        return Memory::open(Store::new(&args.how.store).find(name)?, base, args.how.compute.into(), &hub);
    }
    let context = context::read(&args.context, args.how.format)?;
    let encoded = encode::encode(&args.how, None, &context)?;
    match &encoded.setup {
        Some(setup) => Memory::of_setup(encoded.stored, setup),
        None => Memory::open(encoded.stored, base, args.how.compute.into(), &hub),
    }
}

fn sampling(choice: &Choice) -> Sampling {
    match choice.temperature {
        None => Sampling::Greedy,
        Some(temperature) => {
            Sampling::Random { temperature, top_p: choice.top_p.unwrap_or(1.0), seed: choice.seed }
        }
    }
}

/// Everybody who is asked, and how.
struct Panel<'m> {
    /// With a name where there are several.
    members: Vec<(&'static str, Answerer<'m>)>,
    decoding: Decoding,
    json: bool,
    show_support: bool,
    settings: Value,
}

impl<'m> Panel<'m> {
    fn new(args: &Ask, memory: &'m Memory, in_context: Option<&'m str>) -> Result<Self> {
        let record = &memory.stored.record;
        let mut members = vec![("adapter", memory.answerer(Access::Adapter)?)];
        if args.compare_base {
            members.push(("base", memory.answerer(Access::Base)?));
        }
        if let Some(context) = in_context {
            members.push(("in_context", memory.answerer(Access::InContext(context))?));
        }
        let max_new_tokens = args.choice.max_tokens.unwrap_or(record.recipe.max_new_tokens);
        let decoding =
            Decoding { stops: memory.stops().to_vec(), max_new_tokens, sampling: sampling(&args.choice) };
        let asked: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
        let settings = json!({
            "key": record.key, "max_tokens": max_new_tokens, "temperature": args.choice.temperature,
            "top_p": args.choice.top_p, "seed": args.choice.temperature.map(|_| args.choice.seed),
            "asked": asked,
        });
        Ok(Self { members, decoding, json: args.json, show_support: args.show_support, settings })
    }

    /// Prints the answers to one question as they come.
    fn answer(&mut self, question: &str) -> Result<()> {
        if self.json {
            let mut line = json!({ "question": question });
            extend(&mut line, self.reply(question)?);
            return terminal::print_json(&line.to_string());
        }
        let several = self.members.len() > 1;
        for (name, member) in &mut self.members {
            if several {
                terminal::write(&format!("{name:<12}"))?;
            }
            let reply = member.ask(question, &self.decoding, &mut terminal::write)?;
            terminal::print("")?;
            // The base knows nothing of facts, and need not be told.
            if self.show_support && (!several || *name == "adapter") {
                show_support(&reply)?;
            }
            if reply.malformed {
                let reason =
                    "the model did not keep to the form of its answers: facts or answer may be cut short";
                terminal::note(&format!("note: {reason} (--json shows what it wrote)"));
            }
        }
        Ok(())
    }

    /// The adapter's reply, with those of the others under their names.
    fn reply(&mut self, question: &str) -> Result<Value> {
        let mut line = json!({});
        for (name, member) in &mut self.members {
            let reply = to_json(&member.ask(question, &self.decoding, &mut |_| Ok(()))?)?;
            match *name {
                "adapter" => extend(&mut line, reply),
                other => line[other] = reply,
            }
        }
        Ok(line)
    }

    /// Questions at the terminal, with a history of them.
    fn converse(&mut self) -> Result<()> {
        let failed = |fault: ReadlineError| Error::Invalid(format!("cannot read from the terminal: {fault}"));
        let mut editor = DefaultEditor::new().map_err(failed)?;
        terminal::note("every question is answered from the adapter alone; Ctrl-D ends");
        loop {
            match editor.readline(PROMPT) {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => {
                    editor.add_history_entry(&line).map_err(failed)?;
                    // A question that cannot be asked does not end the conversation.
                    if let Err(fault) = self.answer(&line) {
                        terminal::complain(&format!("error: {fault}"));
                    }
                }
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
                Err(fault) => return Err(failed(fault)),
            }
        }
    }
}

fn batch(
    args: &Ask,
    reserved: Option<Reserved>,
    panel: &mut Panel<'_>,
    questions: &[questions::Question],
) -> Result<()> {
    let Some((path, reserved)) = args.out.as_ref().zip(reserved) else { return Ok(()) };
    let mut answers = reserved.open(questions, panel.settings.clone())?;
    if answers.done() > 0 {
        terminal::note(&format!("{} of {} questions were answered before", answers.done(), questions.len()));
    }
    let progress = encode::bar(questions.len() as u64);
    progress.set_position(answers.done() as u64);
    for question in &questions[answers.done()..] {
        let reply = panel.reply(&question.text).map_err(|fault| in_line(args, question.line, fault))?;
        answers.add(question, reply)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    terminal::print(&path.display().to_string())
}

/// A fault of one question names its line.
fn in_line(args: &Ask, line: usize, fault: Error) -> Error {
    match (&args.questions, fault) {
        (Some(path), Error::Invalid(reason)) => Error::data(path, line, reason),
        (_, other) => other,
    }
}

/// The facts below their answer, one a line.
fn show_support(reply: &Reply) -> Result<()> {
    let Some(facts) = &reply.support else {
        terminal::note(
            "note: the answer names no facts: the adapter was not trained to recall them, or kept silent",
        );
        return Ok(());
    };
    facts.iter().try_for_each(|fact| terminal::print(&format!("  from: {fact}")))
}

fn to_json(reply: &Reply) -> Result<Value> {
    serde_json::to_value(reply).map_err(|fault| Error::Invalid(format!("the answer is no JSON: {fault}")))
}

fn extend(line: &mut Value, more: Value) {
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
}
