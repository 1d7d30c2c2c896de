//! GGUF files of small bases, written as llama.cpp's converter writes them.

#![allow(clippy::unwrap_used, dead_code)] // Each test file uses a part of these helpers.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use perk::model::{Decoder, DecoderConfig, Family};

/// A file to be written.
pub struct GgufBase {
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<(String, QTensor)>,
}

pub fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Value {
    Value::Array(texts.into_iter().map(|entry| text(entry.as_ref())).collect())
}

fn architecture(family: Family) -> &'static str {
    match family {
        Family::Llama => "llama",
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
    }
}

/// llama.cpp's name of a weight.
pub fn name(weight: &str) -> String {
    let mut name = weight.replace("model.layers.", "blk.");
    for (theirs, own) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ] {
        name = name.replace(theirs, own);
    }
    name
}

/// `permute` of llama.cpp's converter: the halves of each head interleaved, for the Llama family's q and k.
fn permuted(tensor: &Tensor, weight: &str, config: &DecoderConfig) -> Tensor {
    let heads = match () {
        () if config.family != Family::Llama => return tensor.clone(),
        () if weight.ends_with("q_proj.weight") => config.num_heads,
        () if weight.ends_with("k_proj.weight") => config.num_kv_heads,
        () => return tensor.clone(),
    };
    let (rows, width) = tensor.dims2().unwrap();
    let halves = tensor.reshape((heads, 2, rows / heads / 2, width)).unwrap();
    halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, width)).unwrap()
}

/// What `tensor` becomes in a file in a type; what has no whole blocks, and vectors, stay f32.
pub fn quantised(tensor: &Tensor, dtype: GgmlDType) -> QTensor {
    let tensor = tensor.to_dtype(DType::F32).unwrap().force_contiguous().unwrap();
    let fits = tensor.rank() == 2 && tensor.dim(1).unwrap().is_multiple_of(dtype.block_size());
    QTensor::quantize(&tensor, if fits { dtype } else { GgmlDType::F32 }).unwrap()
}

impl GgufBase {
    /// The file of a decoder with the byte tokens as its first 256, its matrices in the types that `dtype` gives for their
    /// names in Hugging Face's checkpoints.
    pub fn new(decoder: &Decoder, dtype: impl Fn(&str) -> GgmlDType) -> Self {
        let config = &decoder.config;
        let tensors = decoder.named_tensors().unwrap().into_iter().map(|(weight, tensor)| {
            (name(&weight), quantised(&permuted(&tensor, &weight, config), dtype(&weight)))
        });
        let mut base = Self { metadata: shape(config), tensors: tensors.collect() };
        base.metadata.extend(tokenizer(config.vocab_size, "qwen2"));
        base
    }

    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.unset(key);
        self.metadata.push((key.to_owned(), value));
        self
    }

    pub fn unset(&mut self, key: &str) -> &mut Self {
        self.metadata.retain(|(found, _)| found != key);
        self
    }

    pub fn write(&self, path: &Path) {
        let metadata: Vec<_> = self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        gguf_file::write(&mut BufWriter::new(File::create(path).unwrap()), &metadata, &tensors).unwrap();
    }

    /// The same base as named f32 tensors in Hugging Face's form, of the numbers that Candle takes the blocks for.
    pub fn dequantised(&self, decoder: &Decoder) -> Decoder {
        let config = &decoder.config;
        let named = decoder.named_tensors().unwrap().into_iter().map(|(weight, _)| {
            let stored = &self.tensors.iter().find(|(found, _)| *found == name(&weight)).unwrap().1;
            let tensor = stored.dequantize(&Device::Cpu).unwrap();
            let back = unpermuted(&tensor, &weight, config);
            (weight, back)
        });
        let folder = tempfile::tempdir().unwrap();
        decoder.save(folder.path(), 0).unwrap();
        let path = folder.path().join(perk::model::WEIGHTS_FILE);
        safetensors::serialize_to_file(named.collect::<Vec<_>>(), None, &path).unwrap();
        Decoder::load(folder.path(), DType::F32, DType::F32, &Device::Cpu).unwrap()
    }
}

fn unpermuted(tensor: &Tensor, weight: &str, config: &DecoderConfig) -> Tensor {
    // Permuting row numbers says where each row went.
    let rows = tensor.dim(0).unwrap();
    let Ok((_, _)) = tensor.dims2() else { return tensor.clone() };
    let numbers = Tensor::arange(0f32, rows as f32, &Device::Cpu).unwrap().reshape((rows, 1)).unwrap();
    let went: Vec<f32> = permuted(&numbers, weight, config).flatten_all().unwrap().to_vec1().unwrap();
    let mut places = vec![0u32; rows];
    went.iter().enumerate().for_each(|(place, &row)| places[row as usize] = place as u32);
    tensor.index_select(&Tensor::new(places, &Device::Cpu).unwrap(), 0).unwrap()
}

fn shape(config: &DecoderConfig) -> Vec<(String, Value)> {
    let family = architecture(config.family);
    let whole = |key: &str, number: usize| (format!("{family}.{key}"), Value::U32(number as u32));
    vec![
        ("general.architecture".to_owned(), text(family)),
        whole("block_count", config.num_layers),
        whole("context_length", config.max_positions),
        whole("embedding_length", config.hidden_size),
        whole("feed_forward_length", config.intermediate_size),
        whole("attention.head_count", config.num_heads),
        whole("attention.head_count_kv", config.num_kv_heads),
        whole("attention.key_length", config.head_dim),
        whole("attention.value_length", config.head_dim),
        (format!("{family}.rope.freq_base"), Value::F32(config.rope_theta as f32)),
        (format!("{family}.attention.layer_norm_rms_epsilon"), Value::F32(config.rms_norm_eps as f32)),
    ]
}

/// How byte-level tokenizers write each byte: the visible ones as they are, the others as letters from U+0100 on.
pub fn byte_letters() -> Vec<String> {
    let visible = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    let letter = |byte| {
        let letter = if visible(byte) { byte } else { next };
        next += u32::from(!visible(byte));
        char::from_u32(letter).unwrap().to_string()
    };
    (0..256).map(letter).collect()
}

/// A tokenizer of bytes, a few merged pairs, and the control tokens `<|begin|>` and `<|end|>` as the last two of
/// `vocab_size`.
pub fn tokenizer(vocab_size: usize, pre: &str) -> Vec<(String, Value)> {
    let merges = ["t h", "th e", "Ġ the", "1 2", "12 3"];
    let mut tokens = byte_letters();
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    let named = ["<|begin|>", "<|end|>"];
    assert!(vocab_size >= tokens.len() + named.len(), "a vocabulary of {vocab_size} holds no bytes");
    let normal = tokens.len();
    let unused = vocab_size - normal - named.len();
    tokens.extend((0..unused).map(|id| format!("[PAD{id}]")).chain(named.map(str::to_owned)));
    let types = [vec![1; normal], vec![5; unused], vec![3; named.len()]].concat();
    let entries = [
        ("model", text("gpt2")),
        ("pre", text(pre)),
        ("tokens", texts(tokens)),
        ("token_type", Value::Array(types.into_iter().map(Value::I32).collect())),
        ("merges", texts(merges)),
        ("bos_token_id", Value::U32(vocab_size as u32 - 2)),
        ("eos_token_id", Value::U32(vocab_size as u32 - 1)),
        ("add_bos_token", Value::Bool(false)),
    ];
    entries.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).into()
}
