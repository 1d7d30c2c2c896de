//! `perk publish`.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device};
use perk::checkpoint::{load_parameters, load_tensors, require_finite};
use perk::commands::InnerStart;
use perk::config::Layers;

use super::room::{Room, names};

#[test]
fn what_is_published_is_a_start_for_others_without_the_optimiser_and_without_folders_of_this_machine() {
    let room = Room::trained();
    assert_eq!(room.prints(&["publish", "--checkpoint", "runs/tiny", "--out", "start"]).trim(), "start");
    assert_eq!(names(&room.path("start")), ["meta.safetensors", "state.json"]);
    let own = load_tensors(&room.path("runs/tiny/checkpoints/last"), &Device::Cpu).unwrap();
    let published = load_tensors(&room.path("start"), &Device::Cpu).unwrap();
    assert!(published.keys().all(|name| !name.starts_with("m.") && !name.starts_with("v.")));
    assert_eq!(3 * published.len(), own.len());
    for (name, tensor) in &published {
        let expected = if name.starts_with("base_model.") { DType::BF16 } else { DType::F32 };
        assert_eq!(tensor.dtype(), expected, "{name}");
        let apart = (tensor.to_dtype(DType::F32).unwrap() - &own[name]).unwrap().abs().unwrap();
        let most = own[name].abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(apart.max_all().unwrap().to_scalar::<f32>().unwrap() <= most / 256.0, "{name}");
    }
    let state = fs::read_to_string(room.path("start/state.json")).unwrap();
    assert!(!state.contains(room.path("").to_str().unwrap()), "{state}");
    // The base lies in the folder above, and its digest says that it is the one.
    room.prints(&["encode", "--checkpoint", "start", "--context", "story.txt", "--out", "memory"]);
    room.prints(&["ask", "--adapter", "memory", "Where is Mary?"]);
}

#[test]
fn nothing_is_published_over_something_or_from_something_else() {
    let room = Room::trained();
    let refused = |arguments: &[&str]| room.refuses(&[&["publish"], arguments].concat());
    let before = fs::read_to_string(room.path("story.txt")).unwrap();
    assert!(refused(&["--checkpoint", "runs/tiny", "--out", "story.txt"]).contains("story.txt"));
    assert_eq!(fs::read_to_string(room.path("story.txt")).unwrap(), before);
    assert!(refused(&["--checkpoint", "base", "--out", "start"]).contains("base"));
    assert!(!room.path("start").exists());
}

#[test]
fn the_start_that_is_shipped_is_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/smollm2-qa1");
    let start = InnerStart::open(&folder).unwrap();
    assert!(start.base.is_some() && start.identity.outer_steps == 200);
    let (layers, projections, matrices) = (15, 7, 2);
    assert_eq!(start.config.lora.layers, Layers::Top(layers));
    let tensors = load_parameters(&folder, &Device::Cpu).unwrap();
    // The rates are one tensor, the head four.
    assert_eq!(tensors.len(), layers * projections * matrices + 1 + 4);
    for (name, tensor) in &tensors {
        require_finite(&folder, name, &tensor.to_dtype(DType::F32).unwrap()).unwrap();
    }
}
