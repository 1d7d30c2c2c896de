//! Values of a GGUF file's metadata.

/// What a value is, as files have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers of 1, 2, 4 or 8 bytes, from 0.
    Unsigned(usize),
    /// Whole numbers of 1, 2, 4 or 8 bytes.
    Signed(usize),
    /// Reals of 4 or 8 bytes.
    Real(usize),
    /// A byte, 0 or 1.
    Flag,
    /// Text in UTF-8.
    Text,
    /// Several values of one kind.
    List,
}

/// The kinds, each in the place of its number in a file.
const KINDS: [Kind; 13] = [
    Kind::Unsigned(1),
    Kind::Signed(1),
    Kind::Unsigned(2),
    Kind::Signed(2),
    Kind::Unsigned(4),
    Kind::Signed(4),
    Kind::Real(4),
    Kind::Flag,
    Kind::Text,
    Kind::List,
    Kind::Unsigned(8),
    Kind::Signed(8),
    Kind::Real(8),
];

impl Kind {
    pub(super) fn from_id(id: u32) -> Option<Self> {
        KINDS.get(id as usize).copied()
    }

    /// Its number in a file.
    pub(super) fn id(self) -> u32 {
        KINDS.iter().position(|kind| *kind == self).expect("a kind of the format") as u32
    }

    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Unsigned(size) | Self::Signed(size) | Self::Real(size) => size,
            Self::Flag => 1,
            Self::Text | Self::List => 0,
        }
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(i128),
    /// A real number.
    Real(f64),
    /// True or false.
    Flag(bool),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Texts),
    /// Numbers of a kind, as the file has them.
    Numbers(Kind, Vec<u8>),
    /// Lists of lists, which nothing here reads.
    Nested,
}

impl Value {
    /// A number of a kind; `None` for a flag that is neither 0 nor 1.
    pub(super) fn number(kind: Kind, bytes: &[u8]) -> Option<Self> {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        Some(match kind {
            Kind::Signed(size) => {
                let unused = 64 - 8 * size as u32;
                Self::Whole(((bits << unused) as i64 >> unused).into())
            }
            Kind::Real(4) => Self::Real(shortest(f32::from_bits(bits as u32))),
            Kind::Real(_) => Self::Real(f64::from_bits(bits)),
            Kind::Flag if bits > 1 => return None,
            Kind::Flag => Self::Flag(bits == 1),
            _ => Self::Whole(bits.into()),
        })
    }

    /// The whole numbers of a list; `None` for what is none.
    pub fn wholes(&self) -> Option<impl Iterator<Item = i128> + '_> {
        let Self::Numbers(kind @ (Kind::Unsigned(size) | Kind::Signed(size)), bytes) = self else {
            return None;
        };
        let number = |bytes| match Self::number(*kind, bytes) {
            Some(Self::Whole(number)) => number,
            _ => unreachable!("the kind is of whole numbers"),
        };
        Some(bytes.chunks_exact(*size).map(number))
    }

    /// The reals of a list; `None` for what is none.
    pub fn reals(&self) -> Option<impl Iterator<Item = f64> + '_> {
        let Self::Numbers(kind @ Kind::Real(size), bytes) = self else { return None };
        let number = |bytes| match Self::number(*kind, bytes) {
            Some(Self::Real(number)) => number,
            _ => unreachable!("the kind is of reals"),
        };
        Some(bytes.chunks_exact(*size).map(number))
    }

    /// What it is, for messages.
    pub(super) fn described(&self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Text(text) => format!("the text `{}`", text.chars().take(40).collect::<String>()),
            Self::Texts(texts) => format!("a list of {} texts", texts.len()),
            Self::Numbers(kind, bytes) => format!("a list of {} numbers", bytes.len() / kind.size().max(1)),
            Self::Nested => "a list of lists".to_owned(),
        }
    }
}

/// The number that a writer meant, who had it in decimals and kept it in single precision: 1e-6, not 9.99999997e-7.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// Many texts, one behind the other: a vocabulary has more of them than would each be worth an allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    all: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.ends.push(self.all.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.all[start..end])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_signs_and_what_their_writer_meant() {
        let number = |kind, bytes: &[u8]| Value::number(kind, bytes).unwrap();
        assert_eq!(number(Kind::Unsigned(1), &[255]), Value::Whole(255));
        assert_eq!(number(Kind::Signed(1), &[255]), Value::Whole(-1));
        assert_eq!(number(Kind::Signed(4), &(-7i32).to_le_bytes()), Value::Whole(-7));
        assert_eq!(number(Kind::Signed(8), &i64::MIN.to_le_bytes()), Value::Whole(i64::MIN.into()));
        assert_eq!(number(Kind::Unsigned(8), &[255; 8]), Value::Whole(u64::MAX.into()));
        assert_eq!(number(Kind::Real(4), &1e-6f32.to_le_bytes()), Value::Real(1e-6));
        assert_eq!(number(Kind::Real(8), &0.1f64.to_le_bytes()), Value::Real(0.1));
        assert_eq!(Value::number(Kind::Flag, &[2]), None);
    }

    #[test]
    fn texts_come_back_in_order() {
        let mut texts = Texts::default();
        ["a", "", "zebra"].into_iter().for_each(|text| texts.push(text));
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["a", "", "zebra"]);
        assert_eq!((texts.get(2), texts.get(3)), (Some("zebra"), None));
    }
}
