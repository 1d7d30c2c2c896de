//! Some rows of a matrix, taken out and put back.

use candle_core::{Shape, Tensor};

use crate::autodiff::fused::{self, Call, Grid};
use crate::autodiff::{Dual, Kernel, Ops, Resident, Rows, RowsMut, Scalar, Stored};
use crate::{Error, Result};

/// Which rows of a matrix are meant, each at most once.
#[derive(Debug, Clone)]
pub struct RowIndex {
    /// Their numbers.
    rows: Vec<u32>,
    /// For every row of the matrix its place among them, or [`NONE`].
    places: Vec<u32>,
    tensors: [Resident; 2],
}

/// Stands for no row.
const NONE: u32 = u32::MAX;

impl RowIndex {
    /// Rows of a matrix of `of` rows.
    ///
    /// # Errors
    /// A row that the matrix does not have, or that is named twice.
    pub fn new(rows: Vec<u32>, of: usize) -> Result<Self> {
        let mut places = vec![NONE; of];
        for (place, &row) in rows.iter().enumerate() {
            match places.get_mut(row as usize) {
                Some(free) if *free == NONE => *free = place as u32,
                _ => {
                    return Err(Error::Invalid(format!("row {row} of {of} is named twice, or is not there")));
                }
            }
        }
        Ok(Self { rows, places, tensors: Default::default() })
    }

    /// How many rows are meant.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Row r of the result is row `sources[r]`, or zeros.
struct Take<'a> {
    index: &'a RowIndex,
    /// Whether rows are put back rather than taken out.
    back: bool,
    width: usize,
}

impl Take<'_> {
    fn sources(&self) -> &[u32] {
        if self.back { &self.index.places } else { &self.index.rows }
    }

    fn tensor(&self, back: bool, like: &Tensor) -> Result<Tensor> {
        let numbers = if back { &self.index.places } else { &self.index.rows };
        self.index.tensors[usize::from(back)].ids(like.device(), || numbers.clone())
    }
}

impl Kernel<1, 1> for Take<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x]: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
        // What is not written stays zero.
        let source = self.sources()[row];
        if source != NONE {
            let x = x.row(source as usize, self.width);
            (0..self.width).for_each(|i| y.set(i, x.get(i)));
        }
    }

    fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
        let rows = self.tensor(false, x.primal())?;
        let x = x.reshape((x.primal().elem_count() / self.width, self.width))?;
        let zeros =
            || Tensor::zeros((self.sources().len(), self.width), x.primal().dtype(), x.primal().device());
        let map = |x: &Tensor| match self.back {
            true => zeros()?.index_add(&rows, &x.contiguous()?, 0),
            false => x.index_select(&rows, 0),
        };
        Ok([x.linear(map)?])
    }

    fn fused(&self, inputs: [&Dual; 1], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        let (count, sources) = (shapes[0].elem_count(), self.tensor(self.back, inputs[0].primal())?);
        let call = Call {
            name: "take_rows",
            grid: Grid::Elements(count),
            sizes: &[count, self.width],
            numbers: &[],
            tables: &[&sources],
            stored: Stored::Whole,
        };
        fused::run(&call, inputs, shapes)
    }
}

fn take<V: Ops>(x: &V, index: &RowIndex, back: bool) -> Result<V> {
    let (from, to) = match back {
        true => (index.rows.len(), index.places.len()),
        false => (index.places.len(), index.rows.len()),
    };
    let mut dims = x.primal().dims().to_vec();
    if dims.first() != Some(&from) {
        return Err(Error::Invalid(format!("expected {from} rows, found a tensor of shape {dims:?}")));
    }
    dims[0] = to;
    let kernel = Take { index, back, width: dims[1..].iter().product() };
    let [y] = V::run(&kernel, to, [x], [Shape::from(dims)])?;
    Ok(y)
}

/// The rows of `x: (of, …)` that are meant, `(n, …)`.
pub fn gather_rows<V: Ops>(x: &V, index: &RowIndex) -> Result<V> {
    take(x, index, false)
}

/// The transpose of [`gather_rows`]: `(n, …)` → `(of, …)`, with zeros in the rows that are not meant.
pub fn scatter_rows<V: Ops>(x: &V, index: &RowIndex) -> Result<V> {
    take(x, index, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_not_there_or_named_twice_is_refused() {
        assert!(RowIndex::new(vec![0, 2], 2).is_err());
        assert!(RowIndex::new(vec![1, 0, 1], 2).is_err());
        assert!(RowIndex::new(vec![1, 0], 2).is_ok());
    }
}
