//! The files of a base model, and the cache of a hub.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device};
use perk::Error;
use perk::model::{
    BaseFiles, CONFIG_FILE, Decoder, DecoderConfig, Family, GENERATION_CONFIG_FILE, HubSettings, INDEX_FILE,
    WEIGHTS_FILE, resolve,
};
use perk::text::{CHAT_TEMPLATE_FILE, Chat, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, Tokenizer};

use super::room::{base, put, room_with, seed, texts};
use super::{Form, Target};

#[path = "../../support/gguf.rs"]
mod gguf;

pub const TARGETS: [Target; 9] = [
    Target {
        name: "base-tensors",
        file: WEIGHTS_FILE,
        form: Form::Safetensors,
        seeds: || vec![seed(base, WEIGHTS_FILE)],
        read: |data| load(&room_with("base-tensors", base, WEIGHTS_FILE, data)),
    },
    Target {
        name: "base-index",
        file: INDEX_FILE,
        form: Form::Json,
        seeds: || vec![seed(sharded, INDEX_FILE)],
        // An index may name shards that are not there.
        read: |data| match load(&room_with("base-index", sharded, INDEX_FILE, data)) {
            Err(Error::Io { .. }) => Ok(()),
            outcome => outcome,
        },
    },
    Target {
        name: "base-config",
        file: CONFIG_FILE,
        form: Form::Json,
        seeds: || {
            let llama = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 40,
                "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
                "num_key_value_heads": 1, "head_dim": 4, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
                "tie_word_embeddings": true, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#;
            vec![seed(base, CONFIG_FILE), llama.into()]
        },
        // A shape that is valid may be one that the weights do not have.
        read: |data| match load(&room_with("base-config", base, CONFIG_FILE, data)) {
            Err(Error::Tensor { .. }) => Ok(()),
            outcome => outcome,
        },
    },
    Target {
        name: "tokenizer",
        file: TOKENIZER_FILE,
        form: Form::Json,
        seeds: || {
            let pairs = r#"{"version": "1.0", "added_tokens": [{"id": 5, "content": "<eos>", "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
                "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true}, "decoder": {"type": "ByteLevel", "add_prefix_space": true,
                "trim_offsets": true, "use_regex": true}, "model": {"type": "BPE", "dropout": null,
                "unk_token": null, "fuse_unk": false, "byte_fallback": false, "vocab": {"a": 0, "b": 1,
                "ab": 2, "c": 3, "abc": 4}, "merges": ["a b", "ab c"]}}"#;
            vec![seed(base, TOKENIZER_FILE), pairs.into()]
        },
        read: |data| tokenize(&room_with("tokenizer-file", base, TOKENIZER_FILE, data)),
    },
    Target {
        name: "tokenizer-config",
        file: TOKENIZER_CONFIG_FILE,
        form: Form::Json,
        seeds: || {
            let object = r#"{"eos_token": {"content": "<eos>", "lstrip": false}}"#;
            let chat = r#"{"eos_token": "<eos>", "chat_template": [{"name": "default",
                "template": "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"}]}"#;
            vec![seed(base, TOKENIZER_CONFIG_FILE), object.into(), chat.into()]
        },
        read: |data| converse(&room_with("tokenizer-config", without_ends, TOKENIZER_CONFIG_FILE, data)),
    },
    Target {
        name: "chat-template",
        file: CHAT_TEMPLATE_FILE,
        form: Form::Bytes,
        seeds: || {
            texts(&[
                "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim \
                 }}<eos>{% endfor %}{% if add_generation_prompt %}assistant\n{% endif %}",
                "{% set ns = namespace(last=messages|length - 1) %}{% macro turn(m) %}{{ m.content.strip() }}<eos>\
                 {% endmacro %}{% for m in messages[::-1] %}{{ turn(m) }}{% endfor %}",
            ])
        },
        read: |data| converse(&room_with("chat-template", base, CHAT_TEMPLATE_FILE, data)),
    },
    Target {
        name: "generation-config",
        file: GENERATION_CONFIG_FILE,
        form: Form::Json,
        seeds: || vec![seed(base, GENERATION_CONFIG_FILE), b"{\"eos_token_id\": [1, 2]}".to_vec()],
        read: |data| {
            let folder = room_with("generation-config", base, GENERATION_CONFIG_FILE, data);
            Tokenizer::from_folder(&folder, None).map(drop)
        },
    },
    Target {
        name: "base-gguf",
        file: "base.gguf",
        form: Form::Bytes,
        seeds: || {
            use candle_core::quantized::GgmlDType::{F16, Q4K, Q5_0, Q8_0};
            let types =
                [(Family::Llama, Q8_0), (Family::Qwen2, Q5_0), (Family::Qwen3, F16), (Family::Llama, Q4K)];
            types.map(|(family, dtype)| gguf_base(family, dtype)).into()
        },
        read: |data| {
            let path = room_with("base-gguf", |_| {}, "base.gguf", data).join("base.gguf");
            let Some(base) = BaseFiles::at(&path)? else { panic!("a file that was written is there") };
            base.shape()?;
            base.weight_types()?;
            base.decoder(DType::F32, DType::F32, &Device::Cpu)?;
            let tokenizer = base.tokenizer(None, None)?;
            use_tokenizer(&tokenizer);
            base.chat(None, &tokenizer)?;
            Ok(())
        },
    },
    Target {
        name: "hub-cache",
        file: "owner/name",
        form: Form::Bytes,
        seeds: || texts(&["abc"]),
        read: |data| {
            let cache = room_with("hub-cache", cached, "models--owner--name/refs/main", data);
            let hub = HubSettings { cache_dir: cache.clone(), offline: true, ..HubSettings::default() };
            let found = resolve("hf:owner/name", None, true, &hub)?;
            let folder = found.files.path();
            let inside =
                folder.canonicalize().is_ok_and(|f| f.starts_with(cache.canonicalize().unwrap_or(cache)));
            match inside {
                true => Ok(()),
                false => panic!("{} is not in the cache", folder.display()),
            }
        },
    },
];

fn load(folder: &Path) -> perk::Result<()> {
    BaseFiles::Folder(folder.to_owned()).weight_types()?;
    Decoder::load(folder, DType::F32, DType::F32, &Device::Cpu).map(drop)
}

fn tokenize(folder: &Path) -> perk::Result<()> {
    use_tokenizer(&Tokenizer::from_folder(folder, None)?);
    Ok(())
}

/// Whatever a tokenizer is asked for in the end. On a thread of its own: the library keeps words of every tokenizer there
/// ever was for each thread, until that ends.
fn use_tokenizer(tokenizer: &Tokenizer) {
    let used = std::thread::scope(|scope| scope.spawn(|| ask_tokenizer(tokenizer)).join());
    used.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn ask_tokenizer(tokenizer: &Tokenizer) {
    for text in ["", "Mary went to the garden.", "abcab \u{e9}\u{1f980}\u{0} <eos>"] {
        // A tokenizer may have no token for a text.
        let Ok(tokens) = tokenizer.encode(text) else { continue };
        let _ = tokenizer.decode(&tokens);
        let mut stream = tokenizer.stream();
        if tokens.iter().all(|&token| stream.push(token).is_ok()) {
            let _ = stream.finish();
        }
    }
}

/// A base in one file, with a vocabulary of bytes.
fn gguf_base(family: Family, dtype: candle_core::quantized::GgmlDType) -> Vec<u8> {
    let wide = if dtype.block_size() > 32 { 256 } else { 32 };
    let shape = DecoderConfig {
        family,
        vocab_size: 263,
        hidden_size: wide,
        intermediate_size: wide,
        ..super::room::shape()
    };
    let decoder =
        Decoder::random(&shape, 1, DType::F32, DType::F32, &Device::Cpu).expect("a base can be made");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("base.gguf");
    gguf::GgufBase::new(&decoder, |_| dtype).write(&path);
    fs::read(path).expect("the file was written")
}

/// As whoever trains a chat model reads its tokenizer.
fn converse(folder: &Path) -> perk::Result<()> {
    let tokenizer = Tokenizer::from_folder(folder, None)?;
    Chat::of_base(folder, None, &tokenizer).map(drop)
}

/// A base of one shard.
fn sharded(folder: &Path) {
    base(folder);
    let shard = "model-00001-of-00001.safetensors";
    fs::rename(folder.join(WEIGHTS_FILE), folder.join(shard)).expect("a file can be renamed");
    let names = weight_names();
    let map = names.iter().map(|name| format!("\"{name}\": \"{shard}\"")).collect::<Vec<_>>().join(", ");
    put(&folder.join(INDEX_FILE), format!("{{\"metadata\": {{}}, \"weight_map\": {{{map}}}}}"));
}

fn weight_names() -> Vec<String> {
    super::room::shape().weights().into_iter().map(|weight| weight.name).collect()
}

/// A base whose generation settings name no end.
fn without_ends(folder: &Path) {
    base(folder);
    put(&folder.join(GENERATION_CONFIG_FILE), "{}");
}

fn cached(folder: &Path) {
    base(&folder.join("models--owner--name/snapshots/abc"));
}
