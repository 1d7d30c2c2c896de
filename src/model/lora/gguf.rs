//! Adapters on disk as llama.cpp opens them: one GGUF file that holds the alpha and the pairs A, B.
//!
//! The names and the order of rows are those of llama.cpp's own converter for PEFT adapters
//! (`convert_lora_to_gguf.py`); `src/llama-adapter.cpp` is what reads them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};

use super::adapter::check;
use super::{Adapter, LoraSpec};
use crate::checkpoint::write_at;
use crate::model::gguf_form::{projection_name, rows_as_in_gguf};
use crate::model::{DecoderConfig, Family};
use crate::{Error, Result};

/// Version of ggml's block formats; llama.cpp's converters write it into every file.
const QUANTIZATION_VERSION: u32 = 2;

impl Adapter {
    /// Writes the adapter to `path` as a LoRA file of llama.cpp, in f32, whole or not at all.
    ///
    /// llama.cpp scales B A by alpha / r, without rsLoRA; the alpha written is the one that gives this
    /// adapter's scale there. `base` is the shape of the decoder that the adapter belongs to; `name` is the
    /// title that llama.cpp shows.
    ///
    /// # Errors
    /// An adapter that does not fit `base`, a scale beyond f32, or a file or folder that cannot be written.
    pub fn save_gguf(&self, path: &Path, base: &DecoderConfig, name: &str) -> Result<()> {
        check(base, &self.layout, &self.tensors)?;
        let metadata = metadata(&self.layout.spec, base.family, name)?;
        let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for (site, pair) in self.layout.sites.iter().zip(self.tensors.chunks_exact(2)) {
            let stem = format!("blk.{}.{}.weight", site.layer, projection_name(site.projection));
            tensors.push((format!("{stem}.lora_a"), stored(&pair[0])?));
            tensors.push((
                format!("{stem}.lora_b"),
                stored(&rows_as_in_gguf(&pair[1], site.projection, base)?)?,
            ));
        }
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        write_at(path, |temporary| {
            let file = File::create(temporary).map_err(|e| Error::io(temporary, e))?;
            let mut writer = BufWriter::new(file);
            gguf_file::write(&mut writer, &metadata, &tensors)
                .map_err(|e| Error::file(path, format!("cannot be written: {e}")))?;
            writer.flush().map_err(|e| Error::io(temporary, e))
        })
    }
}

/// The fields that llama.cpp reads, and the two that its converter adds for people and tools.
fn metadata(spec: &LoraSpec, family: Family, name: &str) -> Result<Vec<(&'static str, Value)>> {
    let alpha = spec.plain().alpha as f32;
    // llama.cpp takes an alpha of zero for one that is missing, and then scales by 1.
    if !alpha.is_finite() || alpha <= 0.0 {
        let exact = spec.plain().alpha;
        return Err(Error::Invalid(format!("an alpha of {exact:e} is beyond the f32 of a GGUF file")));
    }
    let text = |text: &str| Value::String(text.to_owned());
    Ok(vec![
        ("general.architecture", text(family.form().model_type)),
        ("general.type", text("adapter")),
        ("adapter.type", text("lora")),
        ("general.name", text(name)),
        ("adapter.lora.alpha", Value::F32(alpha)),
        ("general.quantization_version", Value::U32(QUANTIZATION_VERSION)),
    ])
}

/// A tensor as GGUF holds it: f32, on the CPU. GGUF lists dimensions from the fastest; Candle turns them.
fn stored(tensor: &Tensor) -> Result<QTensor> {
    let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    // A copy, because `QTensor` takes the whole storage, also where the tensor is a view of a part.
    Ok(QTensor::quantize(&tensor.force_contiguous()?, GgmlDType::F32)?)
}
