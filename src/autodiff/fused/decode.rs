//! What decoding does beside products, in few launches: norms, attention of the next token over a cache, and the choice of
//! the largest logit. Values alone; nothing here has a tangent.

use candle_core::{DType, Device, Tensor};

use super::address::{address, room};
use super::launch::{Call, Grid, Params, Variant, launch, run};
use super::{Engine, engine};
use crate::Result;
use crate::autodiff::{Dual, Ops, Stored, choose};

/// Numbers of a head that each lane of a warp may have.
const MOST_OF_A_LANE: usize = 8;
/// Threads that share a head.
const THREADS: usize = 512;
/// Keys that one block reads before others help it, and most blocks a head.
const KEYS_A_BLOCK: usize = 512;
const MOST_BLOCKS_A_HEAD: usize = 32;

/// Keys and values of every row's tokens, and where the next of them stand.
pub(crate) struct NextToken<'a> {
    /// `(rows, kv_heads, slots, head_dim)` each, contiguous. The key and the value of the next token are written into them
    /// in place: nobody else may hold them.
    pub keys: &'a Tensor,
    /// As `keys`.
    pub values: &'a Tensor,
    /// The slot of the next token, the same in every row.
    pub slot: usize,
    /// Slots at the left edge of each row that are padding, `(rows)` u32.
    pub pads: &'a Tensor,
    /// Cosines and sines of positions 0, 1, …, `(positions, head_dim / 2)` each.
    pub rotary: [&'a Tensor; 2],
    /// Gains of the norms of queries and keys, `(head_dim)` each, if they are normed, and ε.
    pub norms: Option<(&'a [Tensor; 2], f64)>,
    /// Factor of the scores.
    pub scale: f64,
}

/// What runs these kernels, if they may run.
fn allowed(device: &Device) -> Option<Engine> {
    engine(device).filter(|_| !choose::composed_only())
}

/// Whether [`attend_next`] takes heads of this width on a device.
pub(crate) fn attends_next(device: &Device, dtype: DType, head_dim: usize) -> bool {
    let most = allowed(device).map_or(0, |engine| MOST_OF_A_LANE * engine.lanes());
    (2..=most).contains(&head_dim) && head_dim.is_multiple_of(2) && Variant::of(dtype, false).is_some()
}

/// How many blocks share a head that attends to so many keys.
fn blocks_a_head(engine: Engine, keys: usize) -> usize {
    keys.div_ceil(engine.pick(KEYS_A_BLOCK, 7)).clamp(1, MOST_BLOCKS_A_HEAD)
}

/// The kernel for heads of a width.
fn attend_name(engine: Engine, head_dim: usize) -> &'static str {
    match head_dim.div_ceil(engine.lanes()) {
        1 => "attend_1",
        2 => "attend_2",
        3..=4 => "attend_4",
        _ => "attend_8",
    }
}

/// Attention of one new token a row, `softmax(scale · q kᵀ) v` head by head over the keys in the cache that are not padding,
/// and its own: `qkv: (rows, (heads + 2 kv) · head_dim)`, before norms and rotation → `(rows, heads · head_dim)`.
///
/// [`attends_next`] must have said that the device takes it.
///
/// # Errors
/// What the device refuses.
pub(crate) fn attend_next(qkv: &Tensor, next: &NextToken<'_>) -> Result<Tensor> {
    let device = qkv.device();
    let (rows, kv_heads, slots, width) = next.keys.dims4()?;
    let heads = qkv.dim(1)? / width - 2 * kv_heads;
    let (Some(engine), Some(variant)) = (allowed(device), Variant::of(qkv.dtype(), false)) else {
        return Err(crate::Error::Invalid("this device does not attend to a cache in one piece".into()));
    };
    let qkv = qkv.contiguous()?;
    let blocks = blocks_a_head(engine, next.slot + 1);
    let result = room((rows, heads * width), qkv.dtype(), &qkv)?;
    let mut params = Params::default();
    params.inputs[0] = address(&qkv)?;
    if let Some((gains, eps)) = next.norms {
        (params.inputs[1], params.inputs[2]) = (address(&gains[0])?, address(&gains[1])?);
        params.numbers[1] = variant.bits(eps);
    }
    params.numbers[0] = variant.bits(next.scale);
    for (place, table) in params.tables.iter_mut().zip([next.rotary[0], next.rotary[1], next.pads]) {
        *place = address(table)?;
    }
    params.outputs[..3].copy_from_slice(&[address(&result)?, address(next.keys)?, address(next.values)?]);
    let sizes = [rows * heads, heads, kv_heads, width, slots, next.slot];
    params.set_sizes(0, &sizes);
    let (first, threads) = Grid::BlockARow(rows * heads, 4 * THREADS).dims(engine);
    let name = (attend_name(engine, width), variant);
    if blocks == 1 {
        launch(device, name, (first, 1, threads), &params)?;
        return Ok(result);
    }
    let parts = room((rows * heads, blocks, width + 2), qkv.dtype(), &qkv)?;
    params.outputs[3] = address(&parts)?;
    launch(device, name, (first, blocks, threads), &params)?;
    merge(engine, variant, &parts, &result)?;
    Ok(result)
}

/// Puts together the parts of every head, `(heads of all rows, parts, head_dim + 2)`.
fn merge(engine: Engine, variant: Variant, parts: &Tensor, result: &Tensor) -> Result<()> {
    let (heads, count, width) = parts.dims3()?;
    let mut params = Params::default();
    (params.inputs[0], params.outputs[0]) = (address(parts)?, address(result)?);
    let sizes = [heads, width - 2, count];
    params.set_sizes(0, &sizes);
    let (blocks, threads) = Grid::BlockARow(heads, 4 * width).dims(engine);
    launch(parts.device(), ("attend_merge", variant), (blocks, 1, threads), &params)
}

/// RMSNorm of rows as wide as a gain, of the same type; `None` where the device has no kernels.
///
/// # Errors
/// What the device refuses.
pub(crate) fn norm_rows(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Option<Tensor>> {
    if allowed(x.device()).is_none() {
        return Ok(None);
    }
    let width = gain.dim(0)?;
    let rows = x.elem_count() / width;
    let call = Call {
        name: "rms_norm",
        grid: Grid::BlockARow(rows, width),
        sizes: &[rows, width],
        numbers: &[eps],
        tables: &[gain],
        stored: Stored::Whole,
    };
    let normed = run(&call, [&Dual::constant(x)], &[x.shape().clone()])?;
    Ok(normed.map(|[normed]| normed.into_primal()))
}

/// Most blocks that look for the largest number.
const LOOKING: usize = 64;

/// The largest of some logits `(V)` and its place, the first of equals; what is no number counts as the largest. `None`
/// where the device has no kernels.
///
/// # Errors
/// What the device refuses.
pub(crate) fn largest(logits: &Tensor) -> Result<Option<(f64, u32)>> {
    let (count, device) = (logits.elem_count(), logits.device());
    let (Some(engine), Some(variant)) = (allowed(device), Variant::of(logits.dtype(), false)) else {
        return Ok(None);
    };
    if count == 0 {
        return Ok(None);
    }
    let logits = logits.contiguous()?;
    let (blocks, threads) = Grid::Elements(count).dims(engine);
    let blocks = blocks.min(LOOKING);
    let found = room((2, blocks), logits.dtype(), &logits)?;
    let mut params = Params::default();
    (params.inputs[0], params.outputs[0]) = (address(&logits)?, address(&found)?);
    params.set_sizes(0, &[count]);
    launch(device, ("largest", variant), (blocks, 1, threads), &params)?;
    #[expect(clippy::disallowed_methods, reason = "the one copy of a token")]
    let found = found.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let mut best = (f64::NEG_INFINITY, f64::INFINITY);
    for (&number, &place) in found[0].iter().zip(&found[1]) {
        let first = match (number.is_nan(), best.0.is_nan()) {
            (false, false) => number > best.0 || (number == best.0 && place < best.1),
            (own, other) => own && (!other || place < best.1),
        };
        if first {
            best = (number, place);
        }
    }
    Ok(Some((best.0, best.1 as u32)))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::device::under_test;

    #[test]
    fn the_largest_number_is_found_wherever_it_is_the_first_of_equals() {
        let find = |numbers: &[f32]| largest(&Tensor::new(numbers, &under_test()).unwrap()).unwrap();
        if find(&[0.0]).is_none() {
            return;
        }
        for count in [1, 5, 16, 17, 100] {
            for place in 0..count {
                let mut numbers: Vec<f32> = (0..count).map(|i| -1.0 - (i * 7 % 11) as f32).collect();
                numbers[place] = 2.5;
                numbers[count - 1] = 2.5;
                assert_eq!(find(&numbers), Some((2.5, place as u32)));
                numbers[place] = f32::NAN;
                assert!(find(&numbers).is_some_and(|(most, at)| most.is_nan() && at == place as u32));
            }
        }
        assert_eq!(find(&[f32::NEG_INFINITY; 40]), Some((f64::NEG_INFINITY, 0)));
    }
}
