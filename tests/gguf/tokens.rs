//! The tokenizer of a GGUF file.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use perk::model::{BaseFiles, Family};
use perk::text::Tokenizer;

use crate::file::{GgufBase, byte_letters, text, tokenizer};
use crate::made;

fn base(pre: &str) -> GgufBase {
    let (_, mut file) = made(Family::Qwen2, true, GgmlDType::Q8_0);
    for (key, value) in tokenizer(270, pre) {
        file.set(&key, value);
    }
    file
}

fn open(file: &GgufBase) -> perk::Result<Tokenizer> {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    file.write(&path);
    BaseFiles::Gguf(path).tokenizer(None, None)
}

fn refused(file: &GgufBase) -> String {
    let message = open(file).unwrap_err().to_string();
    assert!(message.contains("base.gguf"), "{message}");
    message
}

#[test]
fn bytes_and_merged_pairs_are_the_tokens_of_a_text_and_give_it_back() {
    for pre in ["gpt-2", "smollm", "qwen2", "llama-bpe"] {
        let tokenizer = open(&base(pre)).unwrap();
        assert_eq!(tokenizer.vocab_size(), 270);
        let id = |token: &str| tokenizer.token_id(token).unwrap();
        let digits = match pre {
            "smollm" | "qwen2" => vec![id("1"), id("2"), id("3")],
            _ => vec![id("123")],
        };
        let expected = [vec![id("the"), id("Ġthe"), id("Ġ")], digits].concat();
        let space_apart = tokenizer.encode("the the 123").unwrap();
        // GPT-2's words may begin with a space before a number, which merges with no digit here.
        assert_eq!(space_apart, expected, "{pre}");
        for text in ["Zoë said: 東京, \u{1f980}!\r\n\n  x\t", "a\u{0}b", "don't 4567890"] {
            let tokens = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text, "{pre}");
        }
        assert_eq!(tokenizer.encode("\n").unwrap(), [id(&byte_letters()[10])]);
    }
}

/// A vocabulary of pieces with scores: bytes, letters, and a few words.
fn pieces() -> GgufBase {
    let mut file = base("default");
    let named = [("<unk>", 2), ("<s>", 3), ("</s>", 3)];
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), 6));
    let words =
        ["t", "h", "e", "\u{2581}", "th", "he", "\u{2581}t", "\u{2581}th"].map(|word| (word.to_owned(), 1));
    let all: Vec<(String, i32)> =
        named.map(|(token, kind)| (token.to_owned(), kind)).into_iter().chain(bytes).chain(words).collect();
    // The longer words come later in training, and have the lower scores; `he` is before `th`.
    let score = |word: &str| match word {
        "he" => -1.0,
        "th" => -2.0,
        word => -3.0 - word.chars().count() as f32,
    };
    let list = |values: Vec<Value>| Value::Array(values);
    file.set("tokenizer.ggml.model", text("llama"));
    file.set("tokenizer.ggml.tokens", list(all.iter().map(|(token, _)| text(token)).collect()));
    file.set("tokenizer.ggml.token_type", list(all.iter().map(|(_, kind)| Value::I32(*kind)).collect()));
    file.set("tokenizer.ggml.scores", list(all.iter().map(|(token, _)| Value::F32(score(token))).collect()));
    file.set("tokenizer.ggml.bos_token_id", Value::U32(1)).set("tokenizer.ggml.eos_token_id", Value::U32(2));
    file.unset("tokenizer.ggml.merges").unset("tokenizer.ggml.pre").unset("tokenizer.ggml.add_bos_token");
    file
}

#[test]
fn pieces_with_scores_are_merged_best_first_and_other_characters_are_bytes() {
    let tokenizer = open(&pieces()).unwrap();
    let tokens = |text: &str| {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        ids
    };
    let id = |token: &str| tokenizer.token_id(token).unwrap();
    // he first, so that th never stands before e.
    assert_eq!(tokens("the"), [id("\u{2581}t"), id("he")]);
    assert_eq!(tokens("th the"), [id("\u{2581}th"), id("\u{2581}t"), id("he")]);
    assert_eq!(tokens("é\n"), [id("\u{2581}"), id("<0xC3>"), id("<0xA9>"), id("<0x0A>")]);
    assert_eq!(
        (tokenizer.begin_token(), tokenizer.end_id()),
        ("<s>", 2),
        "llama.cpp's rule for such vocabularies"
    );
    let mut bare = pieces();
    bare.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    assert_eq!(open(&bare).unwrap().encode("the").unwrap(), [id("t"), id("he")]);
    let mut short = pieces();
    short.set("tokenizer.ggml.scores", Value::Array(vec![Value::F32(0.0)]));
    assert!(refused(&short).contains("expected a number for each of 267 tokens"));
    assert!(refused(short.unset("tokenizer.ggml.scores")).contains("has no `tokenizer.ggml.scores`"));
}

#[test]
fn control_tokens_end_texts_and_begin_them_where_the_file_says_so() {
    let mut file = base("qwen2");
    let tokenizer = open(&file).unwrap();
    let [begin, end] = ["<|begin|>", "<|end|>"].map(|token| tokenizer.token_id(token).unwrap());
    assert_eq!((begin, end), (268, 269));
    assert_eq!((tokenizer.begin(), tokenizer.end_id(), tokenizer.stop_ids()), (&[][..], end, &[end][..]));
    assert!(tokenizer.encode("<|end|>").unwrap().len() > 1, "a text that spells it holds no control token");
    assert_eq!(tokenizer.encode_prompt(&"a".into()).unwrap().len(), 1);
    let begins = |file: &GgufBase| open(file).unwrap().begin_token().to_owned();
    assert_eq!(begins(file.set("tokenizer.ggml.add_bos_token", Value::Bool(true))), "<|begin|>");
    assert_eq!(begins(file.unset("tokenizer.ggml.add_bos_token")), "");
    let mut llama = base("llama-bpe");
    assert_eq!(begins(llama.unset("tokenizer.ggml.add_bos_token")), "<|begin|>", "as llama.cpp has it");
    let stops = file.set("tokenizer.ggml.eot_token_id", Value::U32(268));
    assert_eq!(open(stops).unwrap().stop_ids(), [269, 268]);
}

#[test]
fn a_tokenizer_that_is_missing_or_does_not_fit_is_refused_by_its_key() {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    for name in ["model", "pre", "tokens", "merges"] {
        let message = refused(base("qwen2").unset(&key(name)));
        assert!(message.contains(&format!("has no `tokenizer.ggml.{name}`")), "{message}");
    }
    let list = |texts: &[&str]| Value::Array(texts.iter().map(|entry| text(entry)).collect());
    for (name, value, expected) in [
        ("model", text("bert"), "`tokenizer.ggml.model` is `bert`"),
        ("model", text("llama"), "names no token of its vocabulary as the unknown one"),
        ("pre", text("tekken"), "`tekken`, a way to cut texts that is not supported"),
        ("tokens", list(&["a", "b", "a"]), "has `a` twice"),
        ("tokens", Value::U32(3), "is 3, expected a list of texts"),
        ("token_type", Value::Array(vec![Value::I32(1)]), "expected a whole number for each of 270 tokens"),
        ("eos_token_id", Value::U32(270), "`tokenizer.ggml.eos_token_id` is 270, and there are 270 tokens"),
        ("bos_token_id", Value::I32(-1), "`tokenizer.ggml.bos_token_id` is -1"),
        ("merges", list(&["t h", "no such"]), "not a tokenizer"),
        ("add_bos_token", Value::U32(1), "expected true or false"),
    ] {
        let message = refused(base("qwen2").set(&key(name), value));
        assert!(message.contains(expected), "{name}: {message}");
    }
    let mut file = base("llama-bpe");
    file.set(&key("add_bos_token"), Value::Bool(true)).unset(&key("bos_token_id"));
    assert!(refused(&file).contains("there is no `tokenizer.ggml.bos_token_id`"));
}
