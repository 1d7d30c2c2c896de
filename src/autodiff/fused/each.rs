//! One element-wise kernel over many sets of tensors, in as few launches as its parameters take.

use candle_core::{Shape, Tensor};

use super::address::address;
use super::engine;
use super::launch::{Call, Grid, Params, Ready, Variant, launch, ready};
use crate::Result;
use crate::autodiff::{Dual, Ops};

/// Most sets in a launch: parameters of 64 KB or less are sent without waiting for the card.
pub(super) const AT_ONCE: usize = 64;
/// Most blocks that share the numbers of one set.
const BLOCKS: usize = 64;

/// One set of tensors of one shape, and the constants of the formula for them.
pub(in crate::autodiff) struct Each<'a, const I: usize> {
    pub inputs: [&'a Dual; I],
    pub numbers: Vec<f64>,
}

/// Runs the kernel NAME over each set; `None` where the device or the type has no kernels, or one set
/// varies and another does not.
///
/// # Errors
/// What the device refuses.
pub(in crate::autodiff) fn run_each<const I: usize, const O: usize>(
    name: &'static str,
    sets: &[Each<'_, I>],
) -> Result<Option<Vec<[Dual; O]>>> {
    let mut outputs = Vec::with_capacity(sets.len());
    for sets in sets.chunks(AT_ONCE) {
        let mut made = Vec::with_capacity(sets.len());
        for set in sets {
            let shape = set.inputs[0].primal().shape();
            let sizes = [shape.elem_count()];
            let call = Call {
                name,
                grid: Grid::Elements(sizes[0]),
                sizes: &sizes,
                numbers: &set.numbers,
                tables: &[],
            };
            let shapes: [Shape; O] = std::array::from_fn(|_| shape.clone());
            match ready(&call, set.inputs, &shapes)? {
                Some(ready) => made.push(ready),
                None => return Ok(None),
            }
        }
        let Some(variant) = one_variant(&made) else { return Ok(None) };
        launch_all((name, variant.each()), sets[0].inputs[0].primal(), &made)?;
        outputs.extend(made.into_iter().map(|ready| ready.outputs));
    }
    Ok(Some(outputs))
}

fn one_variant<const O: usize>(made: &[Ready<O>]) -> Option<Variant> {
    let first = made.first()?.variant;
    made.iter().all(|ready| ready.variant == first).then_some(first)
}

fn launch_all<const O: usize>(key: (&'static str, Variant), like: &Tensor, made: &[Ready<O>]) -> Result<()> {
    let device = like.device();
    let Some(engine) = engine(device) else { return Ok(()) };
    let table = table(&made.iter().map(|ready| ready.params).collect::<Vec<_>>(), like)?;
    let mut params = Params::default();
    params.tables[0] = address(&table)?;
    let most = made.iter().map(|ready| ready.params.sizes[0]).max().unwrap_or(0);
    let (blocks, threads) = Grid::Elements(most as usize).dims(engine);
    launch(device, key, (blocks.min(BLOCKS), made.len(), threads), &params)
}

/// Parameters of several sets, on the device of `like`.
pub(super) fn table(each: &[Params], like: &Tensor) -> Result<Tensor> {
    let bytes: Vec<u8> = each.iter().flat_map(bytes_of).collect();
    let count = bytes.len();
    #[expect(clippy::disallowed_methods, reason = "parameters, which a launch sends in any case")]
    let table = Tensor::from_vec(bytes, count, like.device())?;
    Ok(table)
}

fn bytes_of(params: &Params) -> Vec<u8> {
    let Params { inputs, input_tangents, outputs, output_tangents, tables, sizes, numbers } = params;
    let words = [&inputs[..], input_tangents, outputs, output_tangents, tables].concat();
    let words = words.into_iter().chain(sizes.iter().map(|&size| size as u64)).chain(numbers.iter().copied());
    words.flat_map(u64::to_ne_bytes).collect()
}
