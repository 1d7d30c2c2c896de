//! Products with a thin factor, as adapters take them: `x Aᵀ`, `dy B`, `dyᵀ z`, `dzᵀ x`. A general product reads the wide
//! factor once for every term of a dual number; here one kernel reads its value and its tangent once for all of them.

use candle_core::Tensor;

use super::Engine;
use super::address::{address, room};
use super::gemm::{Matrices, Operand};
use super::launch::{Params, Variant, launch};
use super::sum::fresh_terms;
use crate::Result;
use crate::autodiff::product::{Factor, Part, Sum, Term};
use crate::autodiff::{Dual, Ops};

/// Most columns of a thin factor: of three adapters of rank 16 side by side. Heads of 64 are left to tensor cores.
const THIN: usize = 48;
/// Columns that a block takes at a time, as `THIN` in `cuda/thin.cuh`.
const CHUNK: usize = 16;
/// Blocks that keep a card busy.
const ENOUGH_BLOCKS: usize = 128;
/// Most products of one launch.
const PRODUCTS: usize = 3;
/// Where the sizes of each product begin, and how many there are.
const PRODUCT_SIZES: (usize, usize) = (8, 8);

/// `left · right` with the tangents of both, where they vary, for some columns of the result.
struct Product {
    left: Varying,
    right: Varying,
    column: usize,
}

/// A factor and its tangent, which lies as it does.
struct Varying {
    value: Matrices,
    tangent: Option<Matrices>,
}

impl Varying {
    fn constant(value: Matrices) -> Self {
        Self { value, tangent: None }
    }

    /// Takes the tangent, if it can stand beside the value and none does yet.
    fn take(&mut self, tangent: Matrices) -> bool {
        let like = |a: &Matrices, b: &Matrices| {
            let lies = |x: &Matrices| (x.operand.transposed, x.operand.stride, x.operand.batch_stride);
            (a.count, a.rows, a.columns) == (b.count, b.rows, b.columns) && lies(a) == lies(b)
        };
        let fits = self.tangent.is_none() && like(&self.value, &tangent);
        if fits {
            self.tangent = Some(tangent);
        }
        fits
    }

    fn addresses(&self) -> (u64, u64) {
        (self.value.operand.address, self.tangent.as_ref().map_or(0, |tangent| tangent.operand.address))
    }

    /// From one matrix of `batch` to the next; zero where one serves them all.
    fn batch_stride(&self) -> usize {
        if self.value.count == 1 { 0 } else { self.value.operand.batch_stride }
    }
}

/// A sum of products with thin factors in one launch; `None` for others.
///
/// # Errors
/// What the device refuses.
pub(super) fn thin(engine: Engine, sum: &Sum) -> Result<Option<Dual>> {
    let like = &sum.terms[0].left;
    let halves = if sum.varies() { 2 } else { 1 };
    let Some(variant) = Variant::of(like.dtype(), sum.varies()) else { return Ok(None) };
    // Each place is written once: the values and the tangents of all products are whole.
    let fresh = fresh_terms(sum, halves).unwrap_or_default();
    let is_first = |(fresh, term): (&bool, &Term)| *fresh || term.part == Part::Tangent;
    if sum.bias.is_some() || fresh.is_empty() || !fresh.iter().zip(&sum.terms).all(is_first) {
        return Ok(None);
    }
    let Some(products) = products(sum)? else { return Ok(None) };
    let mut dims = sum.dims();
    if sum.varies() {
        dims.insert(0, 2);
    }
    let launched = match &products[..] {
        _ if sum.columns <= THIN && products.iter().all(|product| !product.left.value.operand.transposed) => {
            Some(right(engine, sum, &products))
        }
        [one] => left(engine, sum, one),
        _ => None,
    };
    let Some((name, grid, mut params)) = launched else { return Ok(None) };
    let result = room(dims, like.dtype(), like)?;
    params.outputs[0] = address(&result)?;
    let half = sum.dims().iter().product::<usize>() * like.dtype().size_in_bytes();
    params.output_tangents[0] = if sum.varies() { params.outputs[0] + half as u64 } else { 0 };
    params.numbers[0] = variant.bits(sum.options.scale);
    launch(like.device(), (name, variant), grid, &params)?;
    Ok(Some(match sum.varies() {
        true => Dual::from_stacked(result)?,
        false => Dual::constant(&result),
    }))
}

/// The terms sorted to products; `None` where they are no products of dual numbers, or too many.
fn products(sum: &Sum) -> Result<Option<Vec<Product>>> {
    let mut products: Vec<Product> = vec![];
    for term in &sum.terms {
        for (part, left) in halves(term)? {
            let Factor::Tensor(right) = &term.right else { return Ok(None) };
            let (left, right) = (Matrices::of(&left)?, Matrices::of(right)?);
            let fits = term.left.dtype() == right.tensor.dtype()
                && left.columns == right.rows
                && [1, left.count].contains(&right.count)
                && left.count * left.rows * left.columns * right.columns > 0;
            if !fits {
                return Ok(None);
            }
            if part == Part::Primal {
                let (left, right) = (Varying::constant(left), Varying::constant(right));
                products.push(Product { left, right, column: term.column });
                continue;
            }
            let own = |product: &&mut Product| {
                product.column == term.column && product.right.value.columns == right.columns
            };
            let Some(product) = products.iter_mut().find(own) else { return Ok(None) };
            let same = |a: &Matrices, b: &Matrices| a.operand.address == b.operand.address;
            let taken = if same(&product.right.value, &right) {
                product.left.take(left)
            } else if same(&product.left.value, &left) {
                product.right.take(right)
            } else {
                false
            };
            if !taken {
                return Ok(None);
            }
        }
    }
    let first = &products[0].left.value;
    let alike = |product: &Product| {
        let value = &product.left.value;
        (value.count, value.rows) == (first.count, first.rows)
    };
    Ok((products.len() <= PRODUCTS && products.iter().all(alike)).then_some(products))
}

/// A term as products of its value and of its tangent.
fn halves(term: &Term) -> Result<Vec<(Part, Tensor)>> {
    let half = |index: usize| term.left.narrow(0, index, 1)?.squeeze(0);
    Ok(match term.part {
        Part::Both => vec![(Part::Primal, half(0)?), (Part::Tangent, half(1)?)],
        part => vec![(part, term.left.clone())],
    })
}

type Launch = (&'static str, (usize, usize, usize), Params);

fn set(params: &mut Params, first: usize, sizes: &[usize]) {
    params.sizes[first..].iter_mut().zip(sizes).for_each(|(place, &size)| *place = size as i64);
}

/// Strides of a matrix down and across.
fn strides(operand: &Operand) -> [usize; 2] {
    if operand.transposed { [1, operand.stride] } else { [operand.stride, 1] }
}

/// `x w` with thin factors on the right.
fn right(engine: Engine, sum: &Sum, products: &[Product]) -> Launch {
    let mut params = Params::default();
    let Matrices { count, rows, .. } = products[0].left.value;
    let widest = products.iter().map(|product| product.right.value.columns).max().unwrap_or(1);
    let chunks = widest.div_ceil(CHUNK);
    set(&mut params, 0, &[rows, sum.columns, rows * sum.columns, products.len(), chunks]);
    for (nth, product) in products.iter().enumerate() {
        let (x, w) = (&product.left, &product.right);
        (params.inputs[2 * nth], params.input_tangents[2 * nth]) = x.addresses();
        (params.inputs[2 * nth + 1], params.input_tangents[2 * nth + 1]) = w.addresses();
        let [down, across] = strides(&w.value.operand);
        let sizes =
            [x.value.columns, x.value.operand.stride, x.batch_stride(), down, across, w.batch_stride()];
        let (first, each) = PRODUCT_SIZES;
        set(&mut params, first + each * nth, &sizes);
        set(&mut params, first + each * nth + sizes.len(), &[w.value.columns, product.column]);
    }
    let threads = engine.pick(256, 2 * engine.lanes());
    let rows_a_block = 2 * threads / engine.lanes();
    let blocks = rows.div_ceil(rows_a_block).min(1 << 16);
    ("thin_right", (blocks, count * products.len() * chunks, threads), params)
}

/// `dᵀ z` or `zᵀ d` with a thin z, a sum over the rows of both; `None` where neither is thin, or they do not lie row by row.
fn left(engine: Engine, sum: &Sum, product: &Product) -> Option<Launch> {
    let (left, right) = (&product.left, &product.right);
    let lies = left.value.operand.transposed && !right.value.operand.transposed;
    if !lies || right.value.count != left.value.count {
        return None;
    }
    // Of the result, from column to column of d, and from column to column of z.
    let (d, z, steps) = if right.value.columns <= THIN {
        (left, right, [sum.columns, 1])
    } else if left.value.rows <= THIN {
        (right, left, [1, sum.columns])
    } else {
        return None;
    };
    let depth = right.value.rows;
    let wide = if std::ptr::eq(d, left) { left.value.rows } else { right.value.columns };
    let thin = if std::ptr::eq(z, left) { left.value.rows } else { right.value.columns };
    // Half as many columns a block where a card would not be full.
    let columns = if wide.div_ceil(CHUNK) < ENOUGH_BLOCKS { CHUNK / 2 } else { CHUNK };
    let (tile, chunks) = (engine.pick(columns, engine.lanes()), thin.div_ceil(CHUNK));
    let mut params = Params::default();
    (params.inputs[0], params.input_tangents[0]) = d.addresses();
    (params.inputs[1], params.input_tangents[1]) = z.addresses();
    let of_d = [d.value.operand.stride, d.batch_stride()];
    let of_z = [z.value.operand.stride, z.batch_stride()];
    set(&mut params, 0, &[depth, wide, thin]);
    set(&mut params, 3, &[of_d, of_z, steps].concat());
    set(&mut params, 9, &[left.value.rows * sum.columns, tile, chunks]);
    let blocks = wide.div_ceil(tile).min(1 << 16);
    Some(("thin_left", (blocks, left.value.count * chunks, engine.pick(256, 2 * engine.lanes())), params))
}
