//! Files that are cut short, changed, or made to do harm.

use std::fs;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use perk::model::{BaseFiles, Family};

use crate::{load, made};

/// The head of a file of version 3 with these counts of tensors and values.
fn head(tensors: u64, values: u64) -> Vec<u8> {
    [&b"GGUF"[..], &3u32.to_le_bytes(), &tensors.to_le_bytes(), &values.to_le_bytes()].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A head with one tensor, in a file of a kilobyte.
fn one_tensor(dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let dims_bytes: Vec<u8> = dims.iter().flat_map(|size| size.to_le_bytes()).collect();
    let mut file = [
        head(1, 1),
        string("general.architecture"),
        8u32.to_le_bytes().to_vec(),
        string("llama"),
        string("token_embd.weight"),
        (dims.len() as u32).to_le_bytes().to_vec(),
        dims_bytes,
        kind.to_le_bytes().to_vec(),
        offset.to_le_bytes().to_vec(),
    ]
    .concat();
    file.resize(1024, 0);
    file
}

fn refused(path: &Path, bytes: &[u8]) -> String {
    fs::write(path, bytes).unwrap();
    let message = match BaseFiles::at(path) {
        Err(fault) => fault.to_string(),
        Ok(_) => load(path).unwrap_err().to_string(),
    };
    assert!(message.contains("base.gguf"), "{message}");
    message
}

#[test]
fn a_tensor_of_a_type_or_at_a_place_that_cannot_be_is_refused_by_name() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    for (dims, kind, offset, expected) in [
        (&[64, 4][..], 10, 0, "has type Q2_K, which is not supported; supported are F32"),
        (&[64, 4], 23, 0, "has type IQ4_XS"),
        (&[64, 4], 4_000, 0, "has the unknown type 4000"),
        (&[33, 4], 8, 0, "rows of 33 numbers, which are no whole blocks of Q8_0 (32)"),
        (&[128, 4], 12, 0, "no whole blocks of Q4_K (256)"),
        (&[64, 1 << 20], 8, 0, "does not lie within the file"),
        (&[64, 4], 8, 1 << 20, "does not lie within the file"),
        (&[64, 4], 8, u64::MAX, "does not lie within the file"),
        (&[1 << 40, 1 << 40], 0, 0, "its shape is [1099511627776, 1099511627776]"),
        (&[u64::MAX], 0, 0, "its shape is"),
        (&[1, 1, 1, 1, 1], 0, 0, "has 5 dimensions"),
        (&[64], 0, 0, "has shape [64], expected a matrix"),
    ] {
        let message = refused(&path, &one_tensor(dims, kind, offset));
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.contains("token_embd.weight"), "{message}");
    }
}

#[test]
fn a_length_that_the_file_does_not_have_takes_no_memory() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    let value =
        |kind: u32, rest: &[u8]| [&head(0, 1)[..], &string("a.key"), &kind.to_le_bytes(), rest].concat();
    let list = |kind: u32, count: u64| value(9, &[&kind.to_le_bytes()[..], &count.to_le_bytes()].concat());
    let most = u64::MAX;
    for (bytes, expected) in [
        (
            value(8, &most.to_le_bytes()),
            "the value of `a.key` needs 18446744073709551615 bytes, and 0 are left",
        ),
        (list(4, most), "`a.key` has 18446744073709551615 entries"),
        (list(4, 1 << 40), "needs 4398046511104 bytes"),
        (list(8, most), "entry 0 of 18446744073709551615"),
        (list(9, most), "is cut short"),
        (value(77, &[]), "is of kind 77"),
        (value(7, &[2]), "no truth value"),
        (value(8, &[&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()), "no text in UTF-8 (its byte 0)"),
        ([&head(0, 1)[..], &most.to_le_bytes()].concat(), "a key of its metadata needs"),
        (head(most, 0), "the name of a tensor needs 8 bytes, and 0 are left"),
        (head(0, most), "a key of its metadata needs 8 bytes"),
        ([&head(0, 2)[..], &string("k"), &[0; 5], &string("k"), &[0; 5]].concat(), "it has `k` twice"),
        (b"GGUF".to_vec(), "its beginning needs 4 bytes"),
        ([&b"GGUF"[..], &1u32.to_le_bytes(), &[0; 20]].concat(), "version 1 of GGUF"),
        ([&b"GGUF"[..], &3u32.to_be_bytes(), &[0; 20]].concat(), "big-endian"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n".to_vec(), "git lfs pull"),
        (b"safetensors".to_vec(), "nor a GGUF file"),
    ] {
        let message = refused(&path, &bytes);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    // A chain of lists of lists.
    let level = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
    let nested = level.repeat(200);
    let message = refused(&path, &value(9, &nested));
    assert!(message.contains("nested too deep"), "{message}");
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    let (_, file) = made(Family::Qwen3, true, GgmlDType::Q4K);
    file.write(&path);
    let whole = fs::read(&path).unwrap();
    for length in (4..whole.len()).step_by(whole.len() / 61) {
        refused(&path, &whole[..length]);
    }
    let message = refused(&path, &whole[..whole.len() - 33]);
    assert!(message.contains("is the file cut short?"), "{message}");
}

#[test]
fn a_weight_that_is_no_number_or_too_large_for_its_type_is_refused_by_name() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    let (_, file) = made(Family::Qwen2, true, GgmlDType::Q8_0);
    file.write(&path);
    let whole = fs::read(&path).unwrap();
    // The last tensor is a matrix or a gain; its last block or number ends the file but for padding.
    let scale = |bits: u16| {
        let mut changed = whole.clone();
        // Every scale of the embedding's first block, wherever the data begins: the first two bytes of the first tensor.
        let start = data_start(&whole);
        changed[start..start + 2].copy_from_slice(&bits.to_le_bytes());
        changed
    };
    let message = refused(&path, &scale(0x7e00));
    assert!(message.contains("token_embd.weight") && message.contains("a NaN or an infinity"), "{message}");
    fs::write(&path, scale(0x7bff)).unwrap();
    let files = BaseFiles::Gguf(path);
    let (f16, f32) = (candle_core::DType::F16, candle_core::DType::F32);
    let message = files.decoder(f16, f32, &candle_core::Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("beyond the f16") && message.contains("model.storage"), "{message}");
}

/// Where the first tensor of a file begins, by Candle's reader.
fn data_start(file: &[u8]) -> usize {
    let content = candle_core::quantized::gguf_file::Content::read(&mut std::io::Cursor::new(file)).unwrap();
    let first = content.tensor_infos["token_embd.weight"].offset;
    (content.tensor_data_offset + first) as usize
}
