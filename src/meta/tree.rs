//! The tree of everything that meta-training learns. Parameters, gradients, the optimiser's state and what a
//! checkpoint holds are trees of one form, and are mapped and joined leaf by leaf.

use candle_core::Tensor;

use crate::model::lora::LoraLayout;
use crate::optim::global_norm;
use crate::{Error, Result};

use super::Head;

/// Something for every tensor that is meta-learned.
#[derive(Debug, Clone)]
pub struct MetaTree<T> {
    /// For the adapter's tensors, in the layout's order.
    pub adapter: Vec<T>,
    /// For the inner learning rates α, `(tensors, steps)`: one rate a tensor of the adapter and inner step.
    pub inner_lr: T,
    /// For the token-weighting head, if the inner loss is weighted.
    pub head: Option<Head<T>>,
}

/// What meta-training learns, as the inner loop uses it: the adapter's start φ₀; the learning rates themselves
/// in f64, on the CPU; the head.
pub type MetaParams = MetaTree<Tensor>;

/// Which branch of the tree a leaf is on: each has a peak learning rate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// The adapter.
    Adapter,
    /// The inner learning rates.
    InnerLr,
    /// The head.
    Head,
}

impl<T> MetaTree<T> {
    /// All leaves: the adapter's, the rates, the head's.
    pub fn leaves(&self) -> impl Iterator<Item = &T> {
        let head = self.head.iter().flat_map(Head::tensors);
        self.adapter.iter().chain([&self.inner_lr]).chain(head)
    }

    /// Every leaf mapped.
    ///
    /// # Errors
    /// The first that `f` returns.
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> Result<U>) -> Result<MetaTree<U>> {
        Ok(MetaTree {
            adapter: self.adapter.iter().map(&mut f).collect::<Result<_>>()?,
            inner_lr: f(&self.inner_lr)?,
            head: self.head.as_ref().map(|head| head.map(&mut f)).transpose()?,
        })
    }

    /// Two trees joined leaf by leaf.
    ///
    /// # Errors
    /// Trees of different forms, or the first error that `f` returns.
    pub fn zip<U, V>(
        &self,
        other: &MetaTree<U>,
        mut f: impl FnMut(&T, &U) -> Result<V>,
    ) -> Result<MetaTree<V>> {
        self.zip_branches(other, |_, a, b| f(a, b))
    }

    /// As [`zip`](Self::zip), with the branch of each leaf.
    ///
    /// # Errors
    /// As [`zip`](Self::zip).
    pub fn zip_branches<U, V>(
        &self,
        other: &MetaTree<U>,
        mut f: impl FnMut(Branch, &T, &U) -> Result<V>,
    ) -> Result<MetaTree<V>> {
        let (expected, found) = (self.leaves().count(), other.leaves().count());
        if self.adapter.len() != other.adapter.len() || expected != found {
            return Err(Error::Invalid(format!(
                "a tree of {found} tensors was joined to one of {expected}: they belong to different adapters or heads"
            )));
        }
        let adapter = self.adapter.iter().zip(&other.adapter).map(|(a, b)| f(Branch::Adapter, a, b));
        Ok(MetaTree {
            adapter: adapter.collect::<Result<_>>()?,
            inner_lr: f(Branch::InnerLr, &self.inner_lr, &other.inner_lr)?,
            head: match (&self.head, &other.head) {
                (Some(a), Some(b)) => Some(a.zip(b, |a, b| f(Branch::Head, a, b))?),
                _ => None,
            },
        })
    }
}

impl MetaTree<String> {
    /// The name of every leaf in a checkpoint: PEFT's for the adapter, `inner_lr`, and `head.fc1.weight` to
    /// `head.fc2.bias`.
    pub fn names(layout: &LoraLayout, head: bool) -> Self {
        Self {
            adapter: (0..layout.num_tensors()).map(|index| layout.name(index)).collect(),
            inner_lr: "inner_lr".to_owned(),
            head: head.then(|| Head::from_tensors(Head::NAMES.map(|name| format!("head.{name}")))),
        }
    }
}

impl MetaTree<Tensor> {
    /// Zeros of the same shapes.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn zeros_like(&self) -> Result<Self> {
        self.map(|tensor| Ok(tensor.zeros_like()?))
    }

    /// Leaf by leaf `self + other`.
    ///
    /// # Errors
    /// Trees of different forms or shapes, or a device out of memory.
    pub fn add(&self, other: &Self) -> Result<Self> {
        self.zip(other, |a, b| Ok((a + b)?))
    }

    /// Every number times `factor`.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn scale(&self, factor: f64) -> Result<Self> {
        self.map(|tensor| Ok((tensor * factor)?))
    }

    /// Euclidean norm over all numbers of all leaves. The rates may be on another device than the rest.
    ///
    /// # Errors
    /// A device that cannot be read.
    pub fn norm(&self) -> Result<f64> {
        let head = self.head.iter().flat_map(Head::tensors);
        let rest: Vec<Tensor> = self.adapter.iter().chain(head).cloned().collect();
        Ok(global_norm(&rest)?.hypot(global_norm(std::slice::from_ref(&self.inner_lr))?))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn tree(value: f64, head: bool) -> MetaTree<Tensor> {
        let full = |shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).unwrap();
        let shapes: [&[usize]; 4] = [&[2, 3], &[2], &[1, 2], &[1]];
        MetaTree {
            adapter: vec![full(&[2, 3]), full(&[3, 2])],
            inner_lr: full(&[2, 2]),
            head: head.then(|| Head::from_tensors(shapes.map(full))),
        }
    }

    #[test]
    fn the_norm_counts_every_number() {
        // 12 of the adapter, 4 rates, 6 + 2 + 2 + 1 of the head.
        let norm = tree(2.0, true).norm().unwrap();
        assert!((norm - (27.0 * 4.0_f64).sqrt()).abs() < 1e-12, "{norm}");
    }

    #[test]
    fn sums_and_scalings_reach_every_leaf() {
        let found = tree(1.0, true).add(&tree(4.0, true)).unwrap().scale(0.5).unwrap();
        let right =
            |leaf: &Tensor| leaf.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().all(|x| *x == 2.5);
        assert_eq!((found.leaves().count(), found.leaves().filter(|leaf| right(leaf)).count()), (7, 7));
        assert!(tree(3.0, true).zeros_like().unwrap().norm().unwrap() == 0.0);
    }

    #[test]
    fn the_branch_of_every_leaf_is_told() {
        let mut seen = vec![];
        let tree = tree(1.0, true);
        let note = |branch, _: &Tensor, _: &Tensor| {
            seen.push(branch);
            Ok(())
        };
        tree.zip_branches(&tree, note).unwrap();
        let count = |branch| seen.iter().filter(|seen| **seen == branch).count();
        assert_eq!([Branch::Adapter, Branch::InnerLr, Branch::Head].map(count), [2, 1, 4]);
    }

    #[test]
    fn trees_of_different_forms_are_not_joined() {
        assert!(tree(1.0, true).add(&tree(1.0, false)).is_err());
        let mut short = tree(1.0, true);
        short.adapter.pop();
        assert!(short.add(&tree(1.0, true)).is_err());
    }
}
