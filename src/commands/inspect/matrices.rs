//! The matrices of an adapter by layer and projection, from a file alone: their norms, and the rates that belong to them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::{
    checkpoint::map_tensors,
    config::LoraConfig,
    error::{Error, Result},
    model::Projection,
    report::inspection::{Rates, SiteNorm, TensorRates},
};

/// How the names of an adapter's tensors begin.
pub(super) const PREFIX: &str = "base_model.";

/// The two matrices of an adapted projection, in f64: A `(r, in)` and B `(out, r)`.
#[derive(Debug)]
struct Site {
    layer: usize,
    projection: Projection,
    a: Tensor,
    b: Tensor,
}

/// All of them, in the order of an adapter: by layer, then by projection.
#[derive(Debug)]
pub(super) struct Matrices(Vec<Site>);

impl Matrices {
    /// Those of the file `path`.
    ///
    /// # Errors
    /// A file that is no adapter's.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = map_tensors(path)?;
        let load = |(name, _): (String, _)| {
            let tensor = file.load(&name, &Device::Cpu);
            let tensor = tensor.map_err(|fault| Error::tensor(path, &name, fault.to_string()))?;
            Ok((name, tensor))
        };
        Self::of(path, file.tensors().into_iter().map(load).collect::<Result<_>>()?)
    }

    /// Those among `tensors`, by their names; `path` is where they were read.
    ///
    /// # Errors
    /// A name that no adapter has; a matrix without its other one, or that does not fit it.
    pub(super) fn of(path: &Path, tensors: HashMap<String, Tensor>) -> Result<Self> {
        let mut found = BTreeMap::new();
        for (name, tensor) in tensors {
            let place = place_of(&name)
                .ok_or_else(|| Error::tensor(path, &name, "is no part of an adapter that perk writes"))?;
            found.insert(place, (name, tensor.to_dtype(DType::F64)?));
        }
        let mut sites = vec![];
        while let Some(((layer, projection, is_b), (name, a))) = found.pop_first() {
            let other = found.remove(&(layer, projection, true)).filter(|_| !is_b);
            let (_, b) =
                other.ok_or_else(|| Error::tensor(path, &name, "stands without its other matrix"))?;
            let fits = matches!((a.dims(), b.dims()), ([rank, _], [_, same]) if rank == same);
            if !fits {
                let reason = format!("has shape {:?}, and its other matrix {:?}", a.dims(), b.dims());
                return Err(Error::tensor(path, &name, reason));
            }
            sites.push(Site { layer, projection: Projection::ALL[projection], a, b });
        }
        Ok(Self(sites))
    }

    /// s ‖B A‖ of each.
    pub(super) fn norms(&self, scale: f64) -> Result<Vec<SiteNorm>> {
        self.0.iter().map(|site| site.said(scale * norm(&site.a, &site.b)?)).collect()
    }

    /// s ‖B A − B₀ A₀‖ of each, where `start` has A₀ and B₀.
    ///
    /// # Errors
    /// A start with other matrices.
    pub(super) fn changes(&self, start: &Self, scale: f64) -> Result<Vec<SiteNorm>> {
        let same = |(own, start): (&Site, &Site)| {
            (own.layer, own.projection) == (start.layer, start.projection)
                && own.a.dims()[1] == start.a.dims()[1]
                && own.b.dims()[0] == start.b.dims()[0]
        };
        if self.0.len() != start.0.len() || !self.0.iter().zip(&start.0).all(same) {
            let reason = "the adapter and the checkpoint it was encoded from adapt other matrices: one of them is damaged";
            return Err(Error::Invalid(reason.to_owned()));
        }
        let change = |(own, start): (&Site, &Site)| {
            let a = Tensor::cat(&[&own.a, &start.a], 0)?;
            let b = Tensor::cat(&[&own.b, &start.b.neg()?], 1)?;
            own.said(scale * norm(&a, &b)?)
        };
        self.0.iter().zip(&start.0).map(change).collect()
    }

    /// The rates of `steps` steps, stored as `raw` `(tensors, trained steps)`, by the tensors they belong to.
    ///
    /// # Errors
    /// Rates for another number of tensors; `path` is for the message.
    pub(super) fn rates(&self, path: &Path, raw: &Tensor, log: bool, steps: usize) -> Result<Rates> {
        let raw = raw.to_dtype(DType::F64)?;
        let (expected, found) = (2 * self.0.len(), raw.dims().to_vec());
        if raw.rank() != 2 || found[0] != expected || found[1] == 0 {
            let reason = format!("should be [{expected}, steps], but is {found:?}");
            return Err(Error::tensor(path, "inner_lr", reason));
        }
        let rates = if log { raw.exp()? } else { raw }.to_vec2::<f64>()?;
        let owners = self.0.iter().flat_map(|site| ["A", "B"].map(|matrix| (site, matrix)));
        let of = |((site, matrix), own): ((&Site, &'static str), &Vec<f64>)| TensorRates {
            layer: site.layer,
            projection: site.projection.name(),
            matrix,
            rates: (0..steps).map(|step| own[step.min(own.len() - 1)]).collect(),
        };
        Ok(Rates { tensors: owners.zip(&rates).map(of).collect() })
    }
}

impl Site {
    fn said(&self, norm: f64) -> Result<SiteNorm> {
        Ok(SiteNorm { layer: self.layer, projection: self.projection.name(), norm })
    }
}

/// The scale s of an adapter.
pub(super) fn scale(lora: &LoraConfig) -> f64 {
    let rank = lora.rank as f64;
    lora.alpha / if lora.rslora { rank.sqrt() } else { rank }
}

/// ‖B A‖² = Σ (BᵀB) ∘ (A Aᵀ): no larger than rank × rank, where B A is as large as the frozen matrix.
fn norm(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (inputs, outputs) = (a.matmul(&a.t()?)?, b.t()?.matmul(b)?);
    // Rounding may take a sum of squares below zero.
    Ok((inputs * outputs)?.sum_all()?.to_scalar::<f64>()?.max(0.0).sqrt())
}

/// Layer, index of the projection, and whether it is B, of the tensor that PEFT calls
/// `base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight`.
fn place_of(name: &str) -> Option<(usize, usize, bool)> {
    let rest = name.strip_prefix(PREFIX)?.strip_prefix("model.model.layers.")?;
    let (layer, rest) = rest.split_once('.')?;
    let (path, matrix) = rest.strip_suffix(".weight")?.rsplit_once('.')?;
    let projection = Projection::ALL.iter().position(|projection| projection.path() == path)?;
    let is_b = match matrix {
        "lora_A" => false,
        "lora_B" => true,
        _ => return None,
    };
    Some((layer.parse().ok()?, projection, is_b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(rows: usize, columns: usize, seed: u64) -> Tensor {
        let number = |i: usize| ((i as u64 * 2_654_435_761 + seed * 40_503) % 1000) as f32 / 500.0 - 1.0;
        let numbers: Vec<f32> = (0..rows * columns).map(number).collect();
        Tensor::from_vec(numbers, (rows, columns), &Device::Cpu).unwrap()
    }

    fn names(layer: usize, path: &str) -> [String; 2] {
        ["A", "B"].map(|matrix| format!("base_model.model.model.layers.{layer}.{path}.lora_{matrix}.weight"))
    }

    /// Rank 2, the larger layer first.
    fn named(seed: u64) -> HashMap<String, Tensor> {
        let mut all = HashMap::new();
        for (nth, (layer, path)) in [(11, "mlp.down_proj"), (2, "self_attn.q_proj")].into_iter().enumerate() {
            let [a, b] = names(layer, path);
            all.insert(a, tensor(2, 5, seed + nth as u64));
            all.insert(b, tensor(3, 2, seed + 7 + nth as u64));
        }
        all
    }

    fn direct(a: &Tensor, b: &Tensor, minus: Option<(&Tensor, &Tensor)>) -> f64 {
        let product = |a: &Tensor, b: &Tensor| b.matmul(a).unwrap().to_dtype(DType::F64).unwrap();
        let mut change = product(a, b);
        if let Some((a, b)) = minus {
            change = (change - product(a, b)).unwrap();
        }
        change.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
    }

    #[test]
    fn norms_are_those_of_the_whole_products_in_the_order_of_an_adapter() {
        let (now, then) = (named(1), named(50));
        let path = Path::new("adapter");
        let own = Matrices::of(path, now.clone()).unwrap();
        let start = Matrices::of(path, then.clone()).unwrap();
        let (norms, changes) = (own.norms(2.0).unwrap(), own.changes(&start, 2.0).unwrap());
        for (nth, (layer, place, name)) in
            [(2, "self_attn.q_proj", "q_proj"), (11, "mlp.down_proj", "down_proj")].into_iter().enumerate()
        {
            let [a, b] = names(layer, place);
            let expected = 2.0 * direct(&now[&a], &now[&b], None);
            assert_eq!((norms[nth].layer, norms[nth].projection), (layer, name));
            assert!((norms[nth].norm - expected).abs() < 1e-6, "{} {expected}", norms[nth].norm);
            let expected = 2.0 * direct(&now[&a], &now[&b], Some((&then[&a], &then[&b])));
            assert!((changes[nth].norm - expected).abs() < 1e-6, "{} {expected}", changes[nth].norm);
        }
        assert!(own.changes(&own, 2.0).unwrap().iter().all(|site| site.norm < 1e-6));
    }

    #[test]
    fn rates_go_to_their_tensors_and_the_last_serves_for_more_steps() {
        let own = Matrices::of(Path::new("adapter"), named(1)).unwrap();
        let raw = Tensor::from_vec((0..8).map(f64::from).collect(), (4, 2), &Device::Cpu).unwrap();
        let rates = own.rates(Path::new("f"), &raw, false, 3).unwrap().tensors;
        let found: Vec<_> =
            rates.iter().map(|tensor| (tensor.layer, tensor.matrix, tensor.rates.clone())).collect();
        let expected = [
            (2, "A", vec![0.0, 1.0, 1.0]),
            (2, "B", vec![2.0, 3.0, 3.0]),
            (11, "A", vec![4.0, 5.0, 5.0]),
            (11, "B", vec![6.0, 7.0, 7.0]),
        ];
        assert_eq!(found, expected);
        let logs = own.rates(Path::new("f"), &raw, true, 1).unwrap().tensors;
        assert!((logs[1].rates[0] - 2f64.exp()).abs() < 1e-12);
        let other = raw.narrow(0, 0, 3).unwrap();
        assert!(own.rates(Path::new("f"), &other, true, 1).unwrap_err().to_string().contains("[4, steps]"));
    }

    #[test]
    fn what_is_no_adapter_is_named() {
        let path = Path::new("file");
        let refused = |change: &dyn Fn(&mut HashMap<String, Tensor>)| {
            let mut all = named(1);
            change(&mut all);
            Matrices::of(path, all).unwrap_err().to_string()
        };
        let [a, b] = names(2, "self_attn.q_proj");
        let lone = "without its other matrix";
        assert!(refused(&|all| drop(all.remove(&a))).contains(lone));
        assert!(refused(&|all| drop(all.remove(&b))).contains(lone));
        let stranger = refused(&|all| drop(all.insert("base_model.model.head".into(), tensor(1, 1, 1))));
        assert!(stranger.contains("`base_model.model.head`: is no part"), "{stranger}");
        assert!(refused(&|all| drop(all.insert(b.clone(), tensor(3, 4, 1)))).contains("[3, 4]"));
    }
}
