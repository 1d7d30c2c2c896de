//! Reading back an adapter file of llama.cpp that perk has written.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Tensor};

use super::{Adapter, LoraLayout, Site};
use crate::model::DecoderConfig;
use crate::model::gguf_form::{projection_name, row_order};
use crate::{Error, Result};

/// The key of the numerator of the scale.
const ALPHA: &str = "adapter.lora.alpha";

impl Adapter {
    /// The adapter in the file `path`, as llama.cpp would take it; `layout` says which matrices it is to have. It is for
    /// files that perk has just written: others are not checked before they are read.
    ///
    /// # Errors
    /// A file that cannot be read, a tensor that is missing, extra or of another shape.
    pub fn load_gguf(path: &Path, layout: &LoraLayout, base: &DecoderConfig, dtype: DType) -> Result<Self> {
        let mut file = File::open(path).map_err(|fault| Error::io(path, fault))?;
        let fault = |fault: candle_core::Error| Error::file(path, format!("cannot be read as GGUF: {fault}"));
        let content = Content::read(&mut file).map_err(fault)?;
        let alpha =
            content.metadata.get(ALPHA).ok_or_else(|| Error::file(path, format!("has no `{ALPHA}`")))?;
        let mut layout = layout.clone();
        // llama.cpp scales by alpha / r.
        layout.spec = layout.spec.plain();
        layout.spec.alpha = f64::from(alpha.to_f32().map_err(fault)?);
        let mut unread: BTreeSet<&String> = content.tensor_infos.keys().collect();
        let mut tensors = Vec::with_capacity(layout.num_tensors());
        for (index, site) in layout.sites.iter().flat_map(|site| [site, site]).enumerate() {
            let matrix = if index.is_multiple_of(2) { "lora_a" } else { "lora_b" };
            let name = format!("blk.{}.{}.weight.{matrix}", site.layer, projection_name(site.projection));
            let read =
                content.tensor(&mut file, &name, &Device::Cpu).and_then(|t| t.dequantize(&Device::Cpu));
            let read = read.and_then(|tensor| tensor.to_dtype(dtype));
            let tensor = read.map_err(|fault| Error::tensor(path, &name, fault.to_string()))?;
            if tensor.dims2().ok() != Some(layout.shape(index)) {
                let (found, wanted) = (tensor.dims(), layout.shape(index));
                return Err(Error::tensor(path, &name, format!("has shape {found:?}, expected {wanted:?}")));
            }
            unread.remove(&name);
            tensors.push(if matrix == "lora_b" { rows_as_in_peft(&tensor, site, base)? } else { tensor });
        }
        match unread.first() {
            None => Ok(Self { layout, tensors }),
            Some(name) => Err(Error::tensor(path, name.as_str(), "is none of this adapter's")),
        }
    }
}

/// B `(out, r)` with its rows in the order of PEFT and transformers: the way back from what `save_gguf` does.
fn rows_as_in_peft(b: &Tensor, site: &Site, base: &DecoderConfig) -> Result<Tensor> {
    let Some(order) = row_order(site.projection, base) else { return Ok(b.clone()) };
    let mut back = vec![0; order.len()];
    order.into_iter().enumerate().for_each(|(place, row)| back[row] = place as u32);
    Ok(b.index_select(&Tensor::new(back, b.device())?, 0)?)
}
