//! Matrices that stay in their blocks while the model computes, beside the same numbers taken apart once.

use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use perk::config::MatmulPrecision;
use perk::gguf::TensorType;
use perk::meta::{Head, InnerOptimizer, InnerOptions, Learner, MetaGradient, MetaParams, Reduction};
use perk::model::lora::{Adapter, Layers, LoraInit, LoraLayout, LoraSpec};
use perk::model::{Activations, BaseFiles, Decoder, Family, Keeping, Projection, Session};
use perk::optim::AdamW;
use perk::text::Sequence;

use crate::base::assert_same_weights;
use crate::file::GgufBase;
use crate::{random, shape};

/// A file whose layers have several types, as Q4_K_M has them.
fn mixed(family: Family, path: &Path) -> BaseFiles {
    use GgmlDType::{F16, Q4_0, Q4K, Q5_0, Q5K, Q6K, Q8_0};
    let types = |name: &str| match name {
        name if name.contains("v_proj") => Q6K,
        name if name.contains("k_proj") => Q8_0,
        name if name.contains("o_proj") => F16,
        name if name.contains("gate_proj") => Q5_0,
        name if name.contains("up_proj") => Q4_0,
        name if name.contains("down_proj") => Q5K,
        _ => Q4K,
    };
    GgufBase::new(&random(&shape(family, family == Family::Qwen2)), types).write(path);
    BaseFiles::Gguf(path.to_owned())
}

fn kept(files: &BaseFiles, keeping: impl Into<Keeping>, compute: DType) -> Decoder {
    files.decoder(keeping, compute, &Device::Cpu).unwrap().0
}

fn options() -> InnerOptions {
    InnerOptions {
        steps: 2,
        differentiated: 2,
        optimizer: InnerOptimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, eps_root: 1e-4 }),
        weight_decay: 0.05,
        clip_norm: None,
        head: true,
        normalize_weights: false,
        reduction: Reduction::Positions,
        micro_batch_segments: 2,
        activations: Activations::Keep,
    }
}

/// The meta-gradient of an episode of three segments, through two inner steps.
fn meta_gradient(decoder: Decoder) -> MetaGradient {
    let (dtype, hidden) = (decoder.dtype, decoder.config.hidden_size);
    let targets = Projection::ALL.to_vec();
    let layout = LoraLayout::new(
        LoraSpec { rank: 2, alpha: 4.0, rslora: false, targets, layers: Layers::All },
        &decoder.config,
    );
    // Drawn in f64, so that both types have the same start but for its rounding.
    let adapter =
        Adapter::new(layout.clone(), LoraInit::SmallB { std: 0.05 }, 1, dtype, &Device::Cpu).unwrap();
    let inner_lr = Tensor::full(0.01, (layout.num_tensors(), 2), &Device::Cpu).unwrap();
    let shapes: [Vec<usize>; 4] = [vec![6, hidden], vec![6], vec![1, 6], vec![1]];
    let waves = |shape: &Vec<usize>| {
        let count = shape.iter().product::<usize>();
        let numbers = (0..count).map(|i| 0.1 * (i as f64 * 0.7).sin());
        Tensor::from_vec(numbers.collect::<Vec<_>>(), shape.as_slice(), &Device::Cpu)
            .unwrap()
            .to_dtype(dtype)
            .unwrap()
    };
    let head = Some(Head::from_tensors([0, 1, 2, 3].map(|i| waves(&shapes[i]))));
    let params = MetaParams { adapter: adapter.tensors, inner_lr, head };
    let sequence = |seed: u32, length: u32, loss_from| {
        Sequence::new((0..length).map(|i| (i * i * 7 + i * 3 + seed * 5) % 256).collect(), loss_from)
    };
    let segments = [sequence(1, 17, 2), sequence(2, 23, 3), sequence(3, 5, 1)];
    let learner = Learner::new(decoder, layout, options()).unwrap();
    learner.meta_gradient(&params, &segments, &[sequence(4, 6, 4)]).unwrap()
}

/// Distance of two gradients relative to the norm of the second.
fn distance(found: &MetaGradient, expected: &MetaGradient) -> f64 {
    let squares = |x: &Tensor| {
        x.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    let (mut off, mut size) = (0.0, 0.0);
    for (a, b) in found.tree.leaves().zip(expected.tree.leaves()) {
        off += squares(&(a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap());
        size += squares(b);
    }
    (off / size).sqrt()
}

#[test]
fn meta_gradients_on_blocks_are_those_on_the_numbers_that_they_hold() {
    let room = tempfile::tempdir().unwrap();
    for family in Family::ALL {
        let files = mixed(family, &room.path().join("base.gguf"));
        let exact = meta_gradient(kept(&files, DType::F64, DType::F64));
        let blocks = meta_gradient(kept(&files, Keeping::AsStored, DType::F64));
        let off = distance(&blocks, &exact);
        assert!(off < 1e-12, "{family:?} in f64: {off:e}");
        let plain = meta_gradient(kept(&files, DType::F32, DType::F32));
        let rounding = distance(&plain, &exact);
        // Blocks are multiplied by instructions for f32, which have nothing to round for; with AMX attention and adapters are
        // rounded at medium.
        for (precision, more) in [(MatmulPrecision::Highest, 1e-6), (MatmulPrecision::Medium, 1e-2)] {
            let decoder = kept(&files, Keeping::AsStored, DType::F32).packed(precision).unwrap();
            let off = distance(&meta_gradient(decoder), &exact);
            assert!(
                off < 2.0 * rounding + more,
                "{family:?} at {precision}: {off:e}, without blocks {rounding:e}"
            );
        }
    }
}

#[test]
fn answers_and_single_weights_are_the_same_from_blocks() {
    let room = tempfile::tempdir().unwrap();
    for family in Family::ALL {
        let files = mixed(family, &room.path().join("base.gguf"));
        let (plain, blocks) =
            (kept(&files, DType::F32, DType::F32), kept(&files, Keeping::AsStored, DType::F32));
        assert_same_weights(&blocks, &plain);
        let logits = |decoder: &Decoder| {
            let mut session = Session::new(decoder, None, 12).unwrap();
            let rows = [&[3u32, 77, 201, 5, 9, 30, 31, 32][..], &[4], &[250]]
                .map(|tokens| session.feed(tokens).unwrap());
            rows.map(|row| row.flatten_all().unwrap().to_vec1::<f32>().unwrap()).concat()
        };
        let (expected, found) = (logits(&plain), logits(&blocks.packed(MatmulPrecision::Highest).unwrap()));
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let size = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        assert!(off < 1e-5 * size, "{family:?}: {off:e} of {size:e}");
    }
}

#[test]
fn blocks_take_the_memory_that_the_file_has_of_them_and_the_estimate_knows_it() {
    let room = tempfile::tempdir().unwrap();
    let files = mixed(Family::Llama, &room.path().join("base.gguf"));
    let plain = kept(&files, DType::F32, DType::F32).matrix_bytes();
    let blocks = kept(&files, Keeping::AsStored, DType::F32).matrix_bytes();
    // q, k, v, o, gate, up and down of two layers; embedding and output matrix. Bits a number: Q4_K 4.5, Q5_K 5.5, Q6_K
    // 6.5625, Q8_0 8.5, Q5_0 5.5, Q4_0 4.5, F16 16.
    let bits = |numbers: usize, each: f64| numbers as f64 * each / 8.0;
    let layer = bits(256 * 256, 4.5) + bits(128 * 256, 8.5) + bits(128 * 256, 6.5625) + bits(256 * 256, 16.0);
    let layer = layer + bits(512 * 256, 5.5 + 4.5 + 5.5);
    assert_eq!(blocks as f64, 2.0 * layer + 2.0 * bits(270 * 256, 4.5));
    assert!(plain > 5 * blocks, "{plain} {blocks}");
    let gains = 5 * 256 * 4;
    let held = |keeping: Keeping| files.held_bytes(keeping, DType::F32, true).unwrap() as usize;
    assert_eq!(held(Keeping::AsStored), blocks + gains);
    assert_eq!(held(Keeping::In(DType::F32)), plain + gains);
    assert_eq!(held(Keeping::In(DType::BF16)), plain + gains, "packed for products both ways");
    let rounded = held(Keeping::Blocks(TensorType::Q8_0));
    assert_eq!(rounded as f64, bits(plain / 4, 8.5) + f64::from(gains as u32));
}

#[test]
fn weights_are_rounded_to_blocks_while_a_base_is_loaded_from_either_form() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    let decoder = random(&shape(Family::Llama, false));
    let folder = room.path().join("folder");
    decoder.save(&folder, 0).unwrap();
    GgufBase::new(&decoder, |_| GgmlDType::F32).write(&path);
    for (tensor_type, dtype) in [(TensorType::Q8_0, GgmlDType::Q8_0), (TensorType::Q4K, GgmlDType::Q4K)] {
        let expected = GgufBase::new(&decoder, |_| dtype).dequantised(&decoder);
        for files in [BaseFiles::Folder(folder.clone()), BaseFiles::Gguf(path.clone())] {
            let (found, notes) =
                files.decoder(Keeping::Blocks(tensor_type), DType::F32, &Device::Cpu).unwrap();
            assert!(notes.is_empty(), "{notes:?}");
            assert_same_weights(&found, &expected);
            assert!(found.matrix_bytes() * 3 < decoder.matrix_bytes());
        }
    }
    // Rows that are no whole blocks stay as they are, and are named.
    let odd = perk::model::DecoderConfig { intermediate_size: 96, ..shape(Family::Llama, false) };
    let decoder = random(&odd);
    decoder.save(&folder, 0).unwrap();
    let files = BaseFiles::Folder(folder);
    let (found, notes) = files.decoder(Keeping::Blocks(TensorType::Q4K), DType::F32, &Device::Cpu).unwrap();
    let [note] = notes.as_slice() else { panic!("{notes:?}") };
    assert!(note.contains("2 of 16 matrices, model.layers.0.mlp.down_proj.weight the first"), "{note}");
    let down = |decoder: &Decoder| decoder.projection(1, Projection::DownProj).unwrap().0;
    crate::base::assert_same(&down(&found), &down(&decoder), "down_proj");
}
