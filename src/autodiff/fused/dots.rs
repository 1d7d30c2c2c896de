//! Sums over many tensors, in as few launches as their addresses take.

use candle_core::{DType, Tensor};

use super::address::{address, room};
use super::each::{AT_ONCE, table};
use super::engine;
use super::launch::{Grid, Params, Variant, launch};
use crate::Result;

/// Numbers that a block adds up, about, and most blocks for one sum.
const PIECE: usize = 1 << 14;
const MOST_PIECES: usize = 64;

/// For each set the sum of a, or of a ⊙ b, in each of `episodes` blocks of their numbers: `(sets, episodes)` in f64. `None`
/// where the device or a type has no kernels.
///
/// # Errors
/// What the device refuses.
pub(in crate::autodiff) fn dots(
    sets: &[(&Tensor, Option<&Tensor>)],
    episodes: usize,
) -> Result<Option<Tensor>> {
    let like = sets[0].0;
    let one_type =
        sets.iter().all(|(a, b)| a.dtype() == like.dtype() && b.is_none_or(|b| b.dtype() == like.dtype()));
    let (Some(engine), Some(variant), true) =
        (engine(like.device()), Variant::of(like.dtype(), false), one_type)
    else {
        return Ok(None);
    };
    let longest = sets.iter().map(|(a, _)| a.elem_count() / episodes).max().unwrap_or(0);
    let pieces = longest.div_ceil(PIECE).clamp(1, MOST_PIECES);
    let sums = room((sets.len(), episodes, pieces), DType::F64, like)?;
    for (chunk, part) in sets.chunks(AT_ONCE).enumerate() {
        // Copies live until the launch.
        let whole = part.iter().map(|(a, b)| Ok((a.contiguous()?, b.map(Tensor::contiguous).transpose()?)));
        let whole = whole.collect::<Result<Vec<(Tensor, Option<Tensor>)>>>()?;
        let each = whole.iter().enumerate().map(|(nth, (a, b))| {
            let mut params = Params::default();
            params.inputs[0] = address(a)?;
            params.inputs[1] = b.as_ref().map_or(Ok(0), address)?;
            let place = (chunk * AT_ONCE + nth) * episodes * pieces * DType::F64.size_in_bytes();
            params.outputs[0] = address(&sums)? + place as u64;
            params.set_sizes(0, &[a.elem_count() / episodes, pieces]);
            Ok(params)
        });
        let table = table(&each.collect::<Result<Vec<_>>>()?, like)?;
        let mut params = Params::default();
        params.tables[0] = address(&table)?;
        let (_, threads) = Grid::BlockARow(1, 4 * 256).dims(engine);
        launch(like.device(), ("dots", variant), (episodes * pieces, part.len(), threads), &params)?;
    }
    Ok(Some(if pieces == 1 { sums.squeeze(2)? } else { sums.sum(2)? }))
}
