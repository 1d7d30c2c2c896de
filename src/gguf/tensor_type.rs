//! The types of a GGUF file's tensors: numbers, or blocks of numbers that share their scales.

use std::fmt;

use half::{bf16, f16};

use super::blocks;

/// A type of tensor that this crate reads. In a block the numbers are a row's, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Brain float.
    Bf16,
    /// 4 bits and a scale for 32 numbers.
    Q4_0,
    /// 4 bits, a scale and a least number for 32 numbers.
    Q4_1,
    /// 5 bits and a scale for 32 numbers.
    Q5_0,
    /// 5 bits, a scale and a least number for 32 numbers.
    Q5_1,
    /// 8 bits and a scale for 32 numbers.
    Q8_0,
    /// 4 bits, and a scale and a least number of 6 bits for each 32 of 256 numbers.
    Q4K,
    /// 5 bits, and a scale and a least number of 6 bits for each 32 of 256 numbers.
    Q5K,
    /// 6 bits, and a scale of 8 bits for each 16 of 256 numbers.
    Q6K,
}

/// What is known of a type: its number in a file, its name, and a block's numbers and bytes.
struct Form {
    id: u32,
    name: &'static str,
    block: usize,
    bytes: usize,
}

/// Names of ggml's other types, by their number, for messages.
const OTHERS: [(u32, &str); 24] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl TensorType {
    /// Every type that is read.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    fn form(self) -> Form {
        let form = |id, name, block, bytes| Form { id, name, block, bytes };
        match self {
            Self::F32 => form(0, "F32", 1, 4),
            Self::F16 => form(1, "F16", 1, 2),
            Self::Bf16 => form(30, "BF16", 1, 2),
            Self::Q4_0 => form(2, "Q4_0", 32, 18),
            Self::Q4_1 => form(3, "Q4_1", 32, 20),
            Self::Q5_0 => form(6, "Q5_0", 32, 22),
            Self::Q5_1 => form(7, "Q5_1", 32, 24),
            Self::Q8_0 => form(8, "Q8_0", 32, 34),
            Self::Q4K => form(12, "Q4_K", 256, 144),
            Self::Q5K => form(13, "Q5_K", 256, 176),
            Self::Q6K => form(14, "Q6_K", 256, 210),
        }
    }

    /// The type of this number in a file.
    ///
    /// # Errors
    /// The name of a type that is not read, with those that are.
    pub fn from_id(id: u32) -> Result<Self, String> {
        if let Some(found) = Self::ALL.into_iter().find(|tensor_type| tensor_type.id() == id) {
            return Ok(found);
        }
        let name = match OTHERS.iter().find(|(other, _)| *other == id) {
            Some((_, name)) => format!("type {name}"),
            None => format!("the unknown type {id}"),
        };
        Err(format!(
            "has {name}, which is not supported; supported are {}",
            Self::ALL.map(Self::name).join(", ")
        ))
    }

    /// Its number in a file.
    pub fn id(self) -> u32 {
        self.form().id
    }

    /// ggml's name of it.
    pub fn name(self) -> &'static str {
        self.form().name
    }

    /// How many numbers share a block.
    pub fn block(self) -> usize {
        self.form().block
    }

    /// Whether its numbers share scales.
    pub fn is_quantised(self) -> bool {
        self.block() > 1
    }

    /// Bytes of so many numbers, whole blocks of them; `None` beyond what can be addressed.
    pub fn bytes(self, numbers: usize) -> Option<usize> {
        let Form { block, bytes, .. } = self.form();
        (numbers / block).checked_mul(bytes)
    }

    /// Bits of a number, with its share of the scales.
    pub fn bits(self) -> f64 {
        let Form { block, bytes, .. } = self.form();
        8.0 * bytes as f64 / block as f64
    }

    /// The numbers of whole blocks, which `into` has places for.
    ///
    /// # Panics
    /// If `into` is not whole blocks, or has other than as many numbers as `bytes`.
    pub fn decode(self, bytes: &[u8], into: &mut [f32]) {
        let wanted = self.bytes(into.len());
        assert!(into.len().is_multiple_of(self.block()) && wanted == Some(bytes.len()), "whole blocks");
        blocks::decode(self, bytes, into);
    }

    /// Numbers in a type that has no blocks, each rounded to the nearest.
    ///
    /// # Panics
    /// If it has.
    pub fn encode(self, numbers: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Self::F16 => numbers.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect(),
            Self::Bf16 => numbers.iter().flat_map(|&number| bf16::from_f32(number).to_le_bytes()).collect(),
            quantised => panic!("{quantised} is a type of blocks"),
        }
    }

    /// The first `width` numbers, whole blocks, of each of some rows, which begin `stride` bytes apart: as many rows as
    /// `into` has places for.
    ///
    /// # Panics
    /// If `width` is not whole blocks, or `bytes` or `into` end within a row.
    pub fn decode_rows(self, bytes: &[u8], stride: usize, width: usize, into: &mut [f32]) {
        let row = self.bytes(width).filter(|_| width.is_multiple_of(self.block())).expect("whole blocks");
        if row > 0 {
            blocks::decode_rows(self, bytes, (stride, row), width, into);
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
