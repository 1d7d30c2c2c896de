//! Exports read back: what was written gives the logits of the base with the adapter.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::{
    error::{Error, Result},
    model::lora::{Adapter, AdapterRef},
    model::{BaseFiles, Decoder, DecoderConfig, HubSettings, Keeping, tape},
    store::StoredAdapter,
    text::{ChatForm, Template, Tokenizer},
};

use super::export::Form;
use super::merged::widest;
use super::setup::recorded_tokenizer;

/// What an adapter is asked for a comparison; any text would do.
const QUESTIONS: [&str; 2] = ["What is this about?", "Who was where, and when? Name all 3."];
/// A third prompt has so many tokens from all over the vocabulary.
const SPREAD: usize = 24;

/// Logits of an export beside those of the base with the adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verified {
    /// Prompts that were compared.
    pub prompts: usize,
    /// Their positions, each with one logit for every token of the vocabulary.
    pub positions: usize,
    /// The largest difference of two logits.
    pub largest_difference: f64,
    /// The largest logit.
    pub largest_logit: f64,
    /// The largest difference that is allowed, as a part of the largest logit.
    pub tolerance: f64,
}

impl Verified {
    /// Whether the export computes the same but for its rounding.
    pub fn holds(&self) -> bool {
        // A NaN is not below anything.
        self.largest_difference <= self.tolerance * self.largest_logit
    }
}

/// Reads the export at `out` of the adapter in `stored`, and compares its logits on a few prompts. Base and export are
/// held one after the other.
///
/// # Errors
/// A base or an export that cannot be read.
pub fn verify(
    stored: &StoredAdapter,
    form: Form,
    out: &Path,
    base: Option<&str>,
    hub: &HubSettings,
) -> Result<Verified> {
    let files = stored.own_base(base, hub)?.files;
    let shape = files.shape()?;
    let prompts = prompts(stored, &files, &shape)?;
    let (decoder, storage) = load(&files)?;
    let adapter = stored.load(&shape, decoder.dtype, &Device::Cpu)?;
    let expected = logits(&decoder, Some(adapter.parts()), &prompts)?;
    let (found, tolerance) = match form {
        Form::Merged => {
            drop(decoder);
            (merged(BaseFiles::Folder(out.to_owned()), stored, &prompts)?, rounding(storage))
        }
        Form::MergedGguf => {
            drop(decoder);
            let storage = if matches!(files, BaseFiles::Gguf(_)) { DType::F16 } else { storage };
            (merged(BaseFiles::Gguf(out.to_owned()), stored, &prompts)?, rounding(storage))
        }
        Form::Peft => {
            let read = Adapter::load(out, &shape, decoder.dtype, &Device::Cpu)?;
            (logits(&decoder, Some(read.parts()), &prompts)?, rounding(DType::F32))
        }
        Form::GgufLora => {
            let read = Adapter::load_gguf(out, &adapter.layout, &shape, decoder.dtype)?;
            (logits(&decoder, Some(read.parts()), &prompts)?, rounding(DType::F32))
        }
    };
    compare(&expected, &found, tolerance)
}

/// Logits of a merged model, which must make the same tokens of the questions as the base.
fn merged(files: BaseFiles, stored: &StoredAdapter, expected: &[Vec<u32>]) -> Result<Vec<Tensor>> {
    let decoder = load(&files)?.0;
    let found = prompts(stored, &files, &decoder.config)?;
    match found[..QUESTIONS.len()] == expected[..QUESTIONS.len()] {
        true => logits(&decoder, None, expected),
        false => Err(Error::file(files.path(), "its tokenizer makes other tokens of a text than the base's")),
    }
}

/// The part of the largest logit by which logits may differ that are computed with weights of this type: a merged weight
/// is rounded to it, 8 bits of bf16 or 11 of f16, where the adapter beside the base is not.
fn rounding(storage: DType) -> f64 {
    match storage {
        DType::BF16 => 5e-2,
        DType::F16 => 1e-2,
        _ => 1e-4,
    }
}

/// A model, computed as exactly as its weights are stored; and the type that holds all of them.
fn load(files: &BaseFiles) -> Result<(Decoder, DType)> {
    let types = files.weight_types()?;
    let widest = widest(types.values().copied());
    let compute = if widest == DType::F64 { DType::F64 } else { DType::F32 };
    let coarsest =
        [DType::BF16, DType::F16].into_iter().find(|dtype| types.values().any(|found| found == dtype));
    let (decoder, _) = files.decoder(Keeping::AsStored, compute, &Device::Cpu)?;
    Ok((decoder, coarsest.unwrap_or(widest)))
}

/// Prompts as the adapter is asked, and one of tokens from all over the vocabulary; each no longer than the model reads.
fn prompts(stored: &StoredAdapter, files: &BaseFiles, shape: &DecoderConfig) -> Result<Vec<Vec<u32>>> {
    let record = &stored.record;
    let tokenizer = recorded_tokenizer(&record.base.model, files)?;
    let chat = record.recipe.chat_template.as_deref().map(ChatForm::parse).transpose();
    let template = Template::parse(&record.recipe.prompt).and_then(|template| Ok(template.in_chat(chat?)));
    let template = template.map_err(|reason| Error::file(&stored.dir, format!("its prompt {reason}")))?;
    let mut prompts = QUESTIONS
        .iter()
        .map(|question| tokenizer.encode_prompt(&template.prompt(record.context.segments, question)))
        .collect::<Result<Vec<_>>>()?;
    prompts.push(spread(&tokenizer, shape));
    for prompt in &mut prompts {
        prompt.truncate(shape.max_positions);
    }
    Ok(prompts)
}

fn spread(tokenizer: &Tokenizer, shape: &DecoderConfig) -> Vec<u32> {
    let tokens = tokenizer.vocab_size().min(shape.vocab_size);
    (0..SPREAD).map(|index| (index * tokens / SPREAD) as u32).collect()
}

/// Logits of every position of each prompt, `(S, V)`, in f64.
fn logits(decoder: &Decoder, adapter: Option<AdapterRef<'_>>, prompts: &[Vec<u32>]) -> Result<Vec<Tensor>> {
    let rows = |prompt: &Vec<u32>| -> Result<Tensor> {
        let ids = Tensor::new(prompt.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
        Ok(tape::logits(decoder, adapter, &ids, None)?.squeeze(0)?.to_dtype(DType::F64)?)
    };
    prompts.iter().map(rows).collect()
}

fn compare(expected: &[Tensor], found: &[Tensor], tolerance: f64) -> Result<Verified> {
    let largest = |tensor: Tensor| -> Result<f64> {
        let numbers = tensor.flatten_all()?.to_vec1::<f64>()?;
        // What is no number counts as the largest.
        Ok(numbers
            .into_iter()
            .fold(0.0, |most: f64, x| if x.is_nan() || most.is_nan() { f64::NAN } else { most.max(x.abs()) }))
    };
    let mut verified = Verified {
        prompts: expected.len(),
        positions: 0,
        largest_difference: 0.0,
        largest_logit: 0.0,
        tolerance,
    };
    let larger = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
    for (expected, found) in expected.iter().zip(found) {
        verified.positions += expected.dim(0)?;
        verified.largest_difference = larger(verified.largest_difference, largest((expected - found)?)?);
        verified.largest_logit = larger(verified.largest_logit, largest(expected.clone())?);
    }
    Ok(verified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(difference: f64) -> Verified {
        let rows = |by: f64| vec![Tensor::new(&[[1.0, -8.0], [2.0, 3.0 + by]], &Device::Cpu).unwrap()];
        compare(&rows(0.0), &rows(difference), 1e-2).unwrap()
    }

    #[test]
    fn a_difference_is_judged_beside_the_largest_logit() {
        let close = verified(0.05);
        assert_eq!((close.prompts, close.positions, close.largest_logit), (1, 2, 8.0));
        assert!((close.largest_difference - 0.05).abs() < 1e-12 && close.holds());
        assert!(!verified(0.09).holds());
        assert!(!verified(f64::NAN).holds() && !verified(f64::INFINITY).holds());
    }
}
