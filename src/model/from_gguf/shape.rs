//! The shape of a decoder, as the metadata of a GGUF file has it.

use super::output::Output;
use crate::error::shown;
use crate::gguf::{Gguf, TensorType};
use crate::model::gguf_form::EMBEDDING;
use crate::model::{DecoderConfig, Family, RopeScaling};
use crate::{Error, Result};

/// What llama.cpp takes where a file does not say.
const ROPE_THETA: f64 = 10_000.0;

/// Divisors of the rotary frequencies, in the files of models with Llama 3's scaling.
pub(in crate::model) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Entries that would change what is computed, with the value at which they do not.
const VARIANTS: [(&str, f64); 8] = [
    ("expert_count", 0.0),
    ("attention.sliding_window", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.scale", 0.0),
    ("logit_scale", 1.0),
    ("rope.scale_linear", 1.0),
    ("rope.scaling.factor", 1.0),
];

/// The shape of the decoder in a file.
///
/// # Errors
/// An architecture or a variant that this decoder does not compute, or an entry that is missing or of another kind.
pub fn shape(gguf: &Gguf) -> Result<DecoderConfig> {
    gguf.require_whole()?;
    let family = family(gguf)?;
    let (keys, vocab_size) = (Keys { gguf, prefix: family.form().model_type }, vocab_size(gguf)?);
    keys.refuse_variants()?;
    let (hidden_size, num_heads) = (keys.whole("embedding_length")?, keys.whole("attention.head_count")?);
    let head_dim = match keys.optional("attention.key_length")? {
        Some(width) => width,
        None if num_heads > 0 && hidden_size.is_multiple_of(num_heads) => hidden_size / num_heads,
        None => {
            return Err(
                gguf.fault(format!("a hidden size of {hidden_size} does not divide into {num_heads} heads"))
            );
        }
    };
    for (key, what) in [("attention.value_length", "values"), ("rope.dimension_count", "rotated parts")] {
        if let Some(width) = keys.optional(key)?.filter(|width| *width != head_dim) {
            let reason =
                format!("has heads of {head_dim} numbers with {what} of {width}, which is not supported");
            return Err(gguf.fault(reason));
        }
    }
    let kv_heads = keys.optional("attention.head_count_kv")?;
    let mut config = DecoderConfig {
        family,
        vocab_size,
        hidden_size,
        intermediate_size: keys.whole("feed_forward_length")?,
        num_layers: keys.whole("block_count")?,
        num_heads,
        num_kv_heads: kv_heads.unwrap_or(num_heads),
        head_dim,
        max_positions: keys.whole("context_length")?,
        rms_norm_eps: keys.real("attention.layer_norm_rms_epsilon")?,
        rope_theta: gguf.real(&keys.of("rope.freq_base"))?.unwrap_or(ROPE_THETA),
        rope_scaling: None,
        tied: Output::find(gguf)?.is_tied(),
    };
    config.check().map_err(|reason| gguf.fault(reason))?;
    config.rope_scaling = rope_scaling(gguf, &config)?;
    Ok(config)
}

fn family(gguf: &Gguf) -> Result<Family> {
    if let Some(kind) = gguf.text("general.type")?.filter(|kind| *kind != "model") {
        return Err(gguf.fault(format!("holds what GGUF calls `{}`, not a model", shown(kind))));
    }
    let key = "general.architecture";
    let name = gguf.needed(key, gguf.text(key))?;
    let found = Family::ALL.into_iter().find(|family| family.form().model_type == name);
    found.ok_or_else(|| {
        gguf.fault(format!("the architecture `{}` is not supported; {}", shown(name), Family::supported()))
    })
}

/// The rows of the embedding: a file need not say them elsewhere.
fn vocab_size(gguf: &Gguf) -> Result<usize> {
    match gguf.tensors().get(EMBEDDING).map(|info| info.shape.as_slice()) {
        Some(&[rows, _]) => Ok(rows),
        Some(other) => {
            Err(Error::tensor(gguf.path(), EMBEDDING, format!("has shape {other:?}, expected a matrix")))
        }
        None => Err(Error::tensor(gguf.path(), EMBEDDING, "is missing")),
    }
}

/// The entries of an architecture, whose name begins their keys.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'static str,
}

impl Keys<'_> {
    fn of(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn optional(&self, key: &str) -> Result<Option<usize>> {
        self.gguf.whole(&self.of(key))
    }

    fn whole(&self, key: &str) -> Result<usize> {
        self.gguf.needed(&self.of(key), self.optional(key))
    }

    fn real(&self, key: &str) -> Result<f64> {
        let key = self.of(key);
        self.gguf.needed(&key, self.gguf.real(&key))
    }

    fn refuse_variants(&self) -> Result<()> {
        let kind = self.gguf.text(&self.of("rope.scaling.type"))?;
        if let Some(kind) = kind.filter(|kind| !matches!(*kind, "none" | "linear")) {
            return Err(self.gguf.fault(format!("the rope scaling `{}` is not supported", shown(kind))));
        }
        for (key, harmless) in VARIANTS {
            let key = self.of(key);
            if let Some(found) = self.gguf.real(&key)?.filter(|found| *found != harmless) {
                return Err(self.gguf.fault(format!("`{key}` is {found}, which is not supported")));
            }
        }
        Ok(())
    }
}

/// Llama 3's scaling. A file holds what it makes of the frequencies, and not its four numbers: three of them have been
/// the same in every release, the fourth divides the lowest frequency.
fn rope_scaling(gguf: &Gguf, config: &DecoderConfig) -> Result<Option<RopeScaling>> {
    let Some(info) = gguf.tensors().get(ROPE_DIVISORS) else { return Ok(None) };
    let fault = |reason: String| Error::tensor(gguf.path(), ROPE_DIVISORS, reason);
    let half = config.head_dim / 2;
    if info.shape != [half] || info.tensor_type != TensorType::F32 {
        let (shape, found) = (&info.shape, info.tensor_type);
        return Err(fault(format!("has shape {shape:?} and type {found}, expected [{half}] and F32")));
    }
    let mut divisors = vec![0.0; half];
    info.tensor_type.decode(&gguf.read_rows(info, 0..1)?, &mut divisors);
    if divisors.iter().all(|divisor| *divisor == 1.0) {
        return Ok(None);
    }
    if !config.family.form().rope_scaling {
        return Err(fault(format!("a rope scaling is not supported with {}", config.family.form().title)));
    }
    let factor = f64::from(divisors.last().copied().unwrap_or(1.0));
    let scaling =
        RopeScaling { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_positions: 8192.0 };
    let plain = config.rope_frequencies();
    let scaled = DecoderConfig { rope_scaling: Some(scaling), ..config.clone() }.rope_frequencies();
    let expected = plain.iter().zip(scaled).map(|(plain, scaled)| plain / scaled);
    let same = expected
        .zip(&divisors)
        .all(|(expected, &found)| (f64::from(found) - expected).abs() < 1e-4 * expected);
    match same && factor.is_finite() && factor > 0.0 {
        true => Ok(Some(scaling)),
        false => {
            Err(fault("is another rope scaling than that of Llama 3, which alone is supported".to_owned()))
        }
    }
}
