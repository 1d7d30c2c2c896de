//! One element-wise kernel over many sets of tensors, in as few launches as its parameters take.

use candle_core::{Shape, Tensor};

use super::address::address;
use super::engine;
use super::launch::{Call, Grid, Params, Ready, Variant, launch, ready};
use crate::Result;
use crate::autodiff::{Dual, Ops, Stored};

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
                stored: Stored::Whole,
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

/// Parameters of several sets, on the device of `like`: words of 64 bits, as the kernels read them, so that they lie at a
/// multiple of 8 bytes.
pub(super) fn table(each: &[Params], like: &Tensor) -> Result<Tensor> {
    let words: Vec<i64> = each.iter().flat_map(words_of).collect();
    let count = words.len();
    #[expect(clippy::disallowed_methods, reason = "parameters, which a launch sends in any case")]
    let table = Tensor::from_vec(words, count, like.device())?;
    Ok(table)
}

fn words_of(params: &Params) -> Vec<i64> {
    let Params { inputs, input_tangents, outputs, output_tangents, tables, sizes, numbers, at_once, .. } =
        params;
    let narrow = [params.narrow_inputs, params.narrow_outputs];
    let addresses = [&inputs[..], input_tangents, outputs, output_tangents, tables].concat().into_iter();
    let numbers = numbers.iter().copied();
    let as_i64 = |word| word as i64;
    let sizes = sizes.iter().copied();
    addresses.map(as_i64).chain(sizes).chain(numbers.map(as_i64)).chain([*at_once]).chain(narrow).collect()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn a_table_has_parameters_as_a_kernel_reads_them() {
        let like = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let mut params = Params::default();
        (params.input_tangents[7], params.outputs[0], params.tables[3]) = (u64::MAX, 2, 3);
        (params.sizes[0], params.sizes[39], params.numbers[23]) = (-4, 5, 1.5_f64.to_bits());
        (params.at_once, params.narrow_inputs, params.narrow_outputs) = (4, 6, 7);
        let table = table(&[Params::default(), params], &like).unwrap();
        assert!(address(&table).unwrap().is_multiple_of(align_of::<Params>() as u64));

        let words = table.to_vec1::<i64>().unwrap();
        let (first, second) = words.split_at(size_of::<Params>() / 8);
        let expected = [vec![0; first.len() - 3], vec![1, 0, 0]].concat();
        assert!(first.len() == second.len() && first == expected);
        let word = |offset: usize, nth: usize| second[offset / 8 + nth];
        assert_eq!(word(offset_of!(Params, input_tangents), 7), -1);
        assert_eq!(word(offset_of!(Params, outputs), 0), 2);
        assert_eq!(word(offset_of!(Params, tables), 3), 3);
        assert_eq!([0, 39].map(|nth| word(offset_of!(Params, sizes), nth)), [-4, 5]);
        assert_eq!(word(offset_of!(Params, numbers), 23), 1.5_f64.to_bits() as i64);
        assert_eq!([0, 1, 2].map(|nth| word(offset_of!(Params, at_once), nth)), [4, 6, 7]);
    }
}
