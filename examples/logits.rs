//! Tokens of texts and logits of a base, for other programs to compare: a checking aid, see `scripts/check_gguf.py`.
//!
//! `logits BASE COUNT OUT TEXT...` writes a safetensors file: for each file TEXT, from 0 on, `ids.N`, its tokens as BASE's
//! tokenizer makes them, and `logits.N` (COUNT, V), what BASE, read in f32, computes behind each of the first COUNT of them.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use perk::{
    config::MatmulPrecision,
    model::{HubSettings, Session, resolve},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, count, out, texts @ ..] = arguments.as_slice() else {
        return Err("usage: logits BASE COUNT OUT TEXT...".into());
    };
    let files = resolve(base, None, true, &HubSettings::default())?.files;
    let tokenizer = files.tokenizer(None, None)?;
    let (decoder, notes) = files.decoder(DType::F32, DType::F32, &Device::Cpu)?;
    notes.iter().for_each(|note| eprintln!("{note}"));
    let decoder = decoder.packed(MatmulPrecision::Highest)?;
    let (most, mut tensors) = (count.parse::<usize>()?, Vec::new());
    for (nth, text) in texts.iter().enumerate() {
        let ids = tokenizer.encode(&std::fs::read_to_string(text)?)?;
        let count = most.min(ids.len());
        // A token at a time, so that every one has its logits.
        let mut session = Session::new(&decoder, None, count)?;
        let row = |&token: &u32| session.feed(&[token])?.flatten_all().map_err(perk::Error::from);
        let logits = ids[..count].iter().map(row).collect::<perk::Result<Vec<_>>>()?;
        tensors.push((format!("logits.{nth}"), Tensor::stack(&logits, 0)?));
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        tensors.push((format!("ids.{nth}"), Tensor::from_vec(ids.clone(), ids.len(), &Device::Cpu)?));
    }
    safetensors::serialize_to_file(tensors, None, Path::new(out))?;
    Ok(())
}
