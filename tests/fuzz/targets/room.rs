//! Folders that the readers read, made once for each thread, and what is in them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use perk::model::{Decoder, DecoderConfig, Family};
use perk::text::{Tokenizer, word_level};
use tempfile::{Builder, TempDir};

thread_local! {
    static ROOMS: RefCell<HashMap<&'static str, TempDir>> = RefCell::default();
}

/// The folder called `name`; whoever is first here has it furnished by `furnish`, which may ask for other folders.
pub fn room(name: &'static str, furnish: fn(&Path)) -> PathBuf {
    let there = ROOMS.with_borrow(|rooms| rooms.get(name).map(|room| room.path().to_owned()));
    there.unwrap_or_else(|| {
        let room = Builder::new().prefix(name).tempdir().expect("a temporary folder can be made");
        furnish(room.path());
        let path = room.path().to_owned();
        ROOMS.with_borrow_mut(|rooms| rooms.insert(name, room));
        path
    })
}

/// As [`room`], with `data` as one of its files.
pub fn room_with(name: &'static str, furnish: fn(&Path), file: &str, data: &[u8]) -> PathBuf {
    let folder = room(name, furnish);
    put(&folder.join(file), data);
    folder
}

pub fn put(path: &Path, data: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
    fs::write(path, data).expect("a file can be written");
}

/// A file of a folder furnished by `furnish`, as a seed.
pub fn seed(furnish: fn(&Path), file: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    furnish(folder.path());
    fs::read(folder.path().join(file)).expect("the folder has this file")
}

/// For seeds that are texts.
pub fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A tokenizer of a few words.
pub fn tokenizer() -> Tokenizer {
    let folder = room("tokenizer", words);
    Tokenizer::from_folder(&folder, None).expect("the tokenizer is valid")
}

/// Files of that tokenizer.
pub fn words(folder: &Path) {
    let text = "Mary John went to the kitchen garden . , : ? Where is Question Answer doc_ 1 2 <support>";
    word_level::save(folder, [text]).expect("a tokenizer can be written");
}

/// A decoder of a few hundred weights.
pub fn shape() -> DecoderConfig {
    DecoderConfig {
        family: Family::Qwen2,
        vocab_size: 40,
        hidden_size: 8,
        intermediate_size: 12,
        num_layers: 1,
        num_heads: 2,
        num_kv_heads: 1,
        head_dim: 4,
        max_positions: 64,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: None,
        tied: true,
    }
}

/// A whole base.
pub fn base(folder: &Path) {
    words(folder);
    let decoder =
        Decoder::random(&shape(), 1, DType::F32, DType::F32, &Device::Cpu).expect("a base can be made");
    decoder.save(folder, 1).expect("a base can be written");
}
