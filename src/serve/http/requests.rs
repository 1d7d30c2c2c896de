//! Bodies of requests, and what they ask for.

use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::Fault;
use super::fields::Fields;
use crate::model::Sampling;
use crate::serve::asking::{Given, Manner};
use crate::tasks::Context;

/// Most stop strings of a request, as OpenAI has it.
const MOST_STOPS: usize = 4;
/// Highest temperature, as OpenAI has it.
const HOTTEST: f64 = 2.0;
/// Tokens of a continuation where nothing is said, as OpenAI has it.
const CONTINUATION: usize = 16;
/// Letters of a memory's name, at most.
const LONGEST_NAME: usize = 80;

/// Fields of OpenAI's that change no answer.
const IGNORED: [&str; 7] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
];

/// A chat or a completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Name of the model.
    pub model: String,
    /// What the model is given.
    pub given: Given,
    /// How it answers.
    pub manner: Manner,
    /// Whether the answer is sent as it comes.
    pub stream: bool,
    /// Whether a stream ends with the numbers of tokens.
    pub include_usage: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: Role,
    content: Option<Content>,
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default, rename = "refusal")]
    _refusal: Option<Value>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
    #[serde(default, rename = "include_obfuscation")]
    _include_obfuscation: bool,
}

/// Reads the body of `/v1/chat/completions`. The last message is the question: a memory has no place for what was said
/// before.
///
/// # Errors
/// The field that is wrong.
pub fn chat(body: &[u8]) -> Result<Asked, Fault> {
    let mut fields = Fields::parse(body)?;
    let messages: Vec<Message> = fields.require("messages")?;
    let last = messages.len().wrapping_sub(1);
    let question = match messages.last() {
        None => return Err(Fault::field("messages", "is empty: the last message is the question")),
        Some(Message { role: Role::User, content: Some(content), .. }) => text(content, last)?,
        Some(_) => {
            let reason = "must be of the role `user`, with the question as its content";
            return Err(Fault::field(format!("messages[{last}]"), reason));
        }
    };
    if question.trim().is_empty() {
        return Err(Fault::field(format!("messages[{last}].content"), "is empty"));
    }
    let newer = fields.take("max_completion_tokens")?;
    let max_tokens = newer.or(fields.take("max_tokens")?);
    fields.only(&[
        ("logprobs", &[json!(false)]),
        ("top_logprobs", &[json!(0)]),
        ("tools", &[json!([])]),
        ("tool_choice", &[json!("none"), json!("auto")]),
        ("functions", &[json!([])]),
        ("response_format", &[json!({ "type": "text" })]),
        ("modalities", &[json!(["text"])]),
    ])?;
    rest(fields, Given::Question(question), max_tokens)
}

/// Reads the body of `/v1/completions`.
///
/// # Errors
/// The field that is wrong.
pub fn completion(body: &[u8]) -> Result<Asked, Fault> {
    let mut fields = Fields::parse(body)?;
    let prompt = match fields.require("prompt")? {
        OneOrMany::One(prompt) => prompt,
        OneOrMany::Many(prompts) => match <[String; 1]>::try_from(prompts) {
            Ok([prompt]) => prompt,
            Err(prompts) => {
                let reason = format!("holds {} prompts: send a request for each", prompts.len());
                return Err(Fault::field("prompt", reason));
            }
        },
    };
    let max_tokens = fields.take("max_tokens")?.or(Some(CONTINUATION));
    fields.only(&[
        ("logprobs", &[json!(0)]),
        ("echo", &[json!(false)]),
        ("best_of", &[json!(1)]),
        ("suffix", &[json!("")]),
    ])?;
    rest(fields, Given::Text(prompt), max_tokens)
}

/// What both have in common.
fn rest(mut fields: Fields, given: Given, max_tokens: Option<usize>) -> Result<Asked, Fault> {
    if max_tokens == Some(0) {
        return Err(Fault::field("max_tokens", "must be at least 1"));
    }
    let model = fields.require("model")?;
    let sampling = sampling(&mut fields)?;
    let stop = match fields.take("stop")? {
        None => vec![],
        Some(OneOrMany::One(stop)) => vec![stop],
        Some(OneOrMany::Many(stops)) => stops,
    };
    if stop.len() > MOST_STOPS || stop.iter().any(String::is_empty) {
        return Err(Fault::field("stop", format!("must be at most {MOST_STOPS} texts, none of them empty")));
    }
    let stream = fields.take("stream")?.unwrap_or(false);
    let options: Option<StreamOptions> = fields.take("stream_options")?;
    if options.is_some() && !stream {
        return Err(Fault::field("stream_options", "is for `stream`: true alone"));
    }
    fields.only(&[
        ("n", &[json!(1)]),
        ("frequency_penalty", &[json!(0), json!(0.0)]),
        ("presence_penalty", &[json!(0), json!(0.0)]),
        ("logit_bias", &[json!({})]),
    ])?;
    fields.ignore(&IGNORED);
    fields.end()?;
    let include_usage = options.is_some_and(|options| options.include_usage);
    Ok(Asked { model, given, manner: Manner { max_tokens, sampling, stop }, stream, include_usage })
}

/// The likeliest tokens where no temperature is given: a memory is asked for what it holds.
fn sampling(fields: &mut Fields) -> Result<Sampling, Fault> {
    let temperature: Option<f64> = fields.take("temperature")?;
    let top_p: Option<f64> = fields.take("top_p")?;
    // Negative seeds are numbers like others.
    let seed: Option<i64> = fields.take("seed")?;
    let temperature = temperature.unwrap_or(0.0);
    if !(0.0..=HOTTEST).contains(&temperature) {
        return Err(Fault::field("temperature", format!("must be from 0 to {HOTTEST}, not {temperature}")));
    }
    let top_p = top_p.unwrap_or(1.0);
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(Fault::field("top_p", format!("must be above 0 and at most 1, not {top_p}")));
    }
    if temperature == 0.0 {
        return Ok(Sampling::Greedy);
    }
    let seed = seed.map_or_else(rand::random, i64::cast_unsigned);
    Ok(Sampling::Random { temperature, top_p, seed })
}

/// The text of message number `index`.
fn text(content: &Content, index: usize) -> Result<String, Fault> {
    let parts = match content {
        Content::Text(text) => return Ok(text.clone()),
        Content::Parts(parts) => parts,
    };
    let texts = parts.iter().enumerate().map(|(nth, part)| match (part.r#type.as_str(), &part.text) {
        ("text", Some(text)) => Ok(text.as_str()),
        _ => Err(Fault::field(format!("messages[{index}].content[{nth}]"), "must be of the type `text`")),
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Reads the body of `POST /v1/memories`, a document to memorise: `text`, or `documents`, a list of texts; and a `name` as its source, if it should
/// have one.
///
/// # Errors
/// The field that is wrong.
pub fn document(body: &[u8]) -> Result<Context, Fault> {
    let mut fields = Fields::parse(body)?;
    let (text, documents): (Option<String>, Option<Vec<String>>) =
        (fields.take("text")?, fields.take("documents")?);
    let name = fields.take::<String>("name")?.unwrap_or_else(|| "memory".to_owned());
    fields.end()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
        let reason = format!("must be 1 to {LONGEST_NAME} letters, digits, spaces, `-`, `_` or `.`");
        return Err(Fault::field("name", reason));
    }
    let (field, documents) = match (text, documents) {
        (Some(text), None) => ("text", vec![text]),
        (None, Some(documents)) => ("documents", documents),
        _ => return Err(Fault::field("text", "give either `text` or `documents`")),
    };
    if documents.is_empty() || documents.iter().any(|document| document.trim().is_empty()) {
        return Err(Fault::field(field, "is empty: there is nothing to memorise"));
    }
    Ok(Context { documents, sources: vec![name] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat_of(more: &Value) -> Result<Asked, Fault> {
        let mut body = json!({ "model": "base", "messages": [{ "role": "user", "content": "Where?" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chat(body.to_string().as_bytes())
    }

    #[test]
    fn a_chat_asks_its_last_message() {
        let messages = json!([
            { "role": "system", "content": "Be kind." },
            { "role": "assistant", "content": null },
            { "role": "user", "content": [{ "type": "text", "text": "Where is " }, { "type": "text", "text": "John?" }] },
        ]);
        let asked = chat_of(&json!({ "messages": messages, "user": "me", "n": 1, "tools": [] })).unwrap();
        assert_eq!(asked.given, Given::Question("Where is John?".to_owned()));
        assert_eq!(asked.manner, Manner { max_tokens: None, sampling: Sampling::Greedy, stop: vec![] });
        assert!(!asked.stream && !asked.include_usage);
    }

    #[test]
    fn what_may_be_said_of_an_answer_is_understood() {
        let asked = chat_of(&json!({
            "max_completion_tokens": 7, "max_tokens": 3, "temperature": 0.5, "top_p": 0.9, "seed": -1,
            "stop": ["a", "b"], "stream": true, "stream_options": { "include_usage": true },
        }));
        let asked = asked.unwrap();
        let sampling = Sampling::Random { temperature: 0.5, top_p: 0.9, seed: u64::MAX };
        let stop = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(asked.manner, Manner { max_tokens: Some(7), sampling, stop });
        assert!(asked.stream && asked.include_usage);
        let text = completion(br#"{"model": "m", "prompt": ["Once"], "stop": "."}"#).unwrap();
        assert_eq!((text.given, text.manner.max_tokens), (Given::Text("Once".to_owned()), Some(16)));
        assert_eq!(text.manner.stop, ["."]);
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        for (more, field) in [
            (json!({ "model": null }), "model"),
            (json!({ "model": 3 }), "model"),
            (json!({ "messages": [] }), "messages"),
            (json!({ "messages": [{ "role": "user" }] }), "messages[0]"),
            (json!({ "messages": [{ "role": "king", "content": "x" }] }), "messages[0].role"),
            (json!({ "messages": [{ "role": "system", "content": "x" }] }), "messages[0]"),
            (json!({ "messages": [{ "role": "user", "content": " \n" }] }), "messages[0].content"),
            (
                json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
                "messages[0].content[0]",
            ),
            (json!({ "max_tokens": 0 }), "max_tokens"),
            (json!({ "max_tokens": -1 }), "max_tokens"),
            (json!({ "temperature": 2.5 }), "temperature"),
            (json!({ "temperature": "hot" }), "temperature"),
            (json!({ "top_p": 0 }), "top_p"),
            (json!({ "stop": ["a", "b", "c", "d", "e"] }), "stop"),
            (json!({ "stop": "" }), "stop"),
            (json!({ "stream_options": {} }), "stream_options"),
            (json!({ "stream": true, "stream_options": { "usage": 1 } }), "stream_options.usage"),
            (json!({ "n": 2 }), "n"),
            (json!({ "tools": [1] }), "tools"),
            (json!({ "frequency_penalty": 0.5 }), "frequency_penalty"),
            (json!({ "temprature": 1 }), "temprature"),
        ] {
            let fault = chat_of(&more).unwrap_err();
            assert_eq!((fault.field.as_deref(), fault.status.as_u16()), (Some(field), 400), "{more}");
        }
        for body in ["", "{", "[]", "3", "\u{0}", "{\"model\": \"a\", \"messages\": "] {
            assert_eq!(chat(body.as_bytes()).unwrap_err().status.as_u16(), 400, "{body}");
        }
        let two = completion(br#"{"model": "m", "prompt": ["a", "b"]}"#).unwrap_err();
        assert_eq!(two.field.as_deref(), Some("prompt"));
    }

    #[test]
    fn a_document_has_texts_and_a_name() {
        let read = |body: Value| document(body.to_string().as_bytes());
        let context = read(json!({ "text": "A.", "name": "my story.txt" })).unwrap();
        assert_eq!(
            (context.documents, context.sources),
            (vec!["A.".to_owned()], vec!["my story.txt".to_owned()])
        );
        assert_eq!(read(json!({ "documents": ["A.", "B."] })).unwrap().documents.len(), 2);
        for (body, field) in [
            (json!({}), "text"),
            (json!({ "text": "A.", "documents": ["B."] }), "text"),
            (json!({ "text": " " }), "text"),
            (json!({ "documents": [] }), "documents"),
            (json!({ "documents": ["A.", ""] }), "documents"),
            (json!({ "documents": "A." }), "documents"),
            (json!({ "text": "A.", "name": "../x" }), "name"),
            (json!({ "text": "A.", "name": "" }), "name"),
            (json!({ "text": "A.", "steps": 3 }), "steps"),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().field.as_deref(), Some(field), "{body}");
        }
    }
}
