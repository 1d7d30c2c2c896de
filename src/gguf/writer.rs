//! Writing GGUF files: metadata, and tensors that come one after the other.

use std::io::{self, Write};

use super::TensorType;
use super::header::{ALIGNMENT, MAGIC};
use super::value::Kind;

const VERSION: u32 = 3;
/// The key of the alignment of tensors.
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";

/// Metadata by key, in the order of a file, each value behind its kind as a file has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    entries: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// Sets an entry to the bytes of a value, in the place of what is there.
    pub(super) fn set(&mut self, key: &str, value: Vec<u8>) {
        match self.entries.iter_mut().find(|(other, _)| other == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.to_owned(), value)),
        }
    }

    /// Whether there is such an entry.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(other, _)| other == key)
    }

    /// Sets a text.
    pub fn set_text(&mut self, key: &str, value: &str) {
        self.set(key, [&Kind::Text.id().to_le_bytes()[..], &text(value)].concat());
    }

    /// Sets a whole number, as 32 bits without a sign.
    pub fn set_whole(&mut self, key: &str, value: u32) {
        self.set(key, [Kind::Unsigned(4).id().to_le_bytes(), value.to_le_bytes()].concat());
    }

    /// Sets a real number, in single precision.
    pub fn set_real(&mut self, key: &str, value: f32) {
        self.set(key, [Kind::Real(4).id().to_le_bytes(), value.to_le_bytes()].concat());
    }

    /// Sets true or false.
    pub fn set_flag(&mut self, key: &str, value: bool) {
        self.set(key, [&Kind::Flag.id().to_le_bytes()[..], &[value.into()]].concat());
    }

    /// Sets a list of texts.
    pub fn set_texts<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a str>) {
        let values: Vec<Vec<u8>> = values.into_iter().map(text).collect();
        self.set(key, [list(Kind::Text, values.len()), values.concat()].concat());
    }

    /// Sets a list of whole numbers, as 32 bits with a sign.
    pub fn set_wholes(&mut self, key: &str, values: &[i32]) {
        let numbers: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.set(key, [list(Kind::Signed(4), values.len()), numbers].concat());
    }
}

/// A text behind its length.
fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}

/// What stands before the entries of a list.
fn list(of: Kind, count: usize) -> Vec<u8> {
    let kinds = [Kind::List.id(), of.id()].map(u32::to_le_bytes).concat();
    [&kinds[..], &(count as u64).to_le_bytes()].concat()
}

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorHead {
    /// Its name.
    pub name: String,
    /// Its type in the file.
    pub tensor_type: TensorType,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
}

impl TensorHead {
    fn bytes(&self) -> io::Result<usize> {
        let numbers = self.shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let whole = self.shape.last().is_none_or(|width| width.is_multiple_of(self.tensor_type.block()));
        let bytes = numbers.filter(|_| whole).and_then(|count| self.tensor_type.bytes(count));
        bytes.ok_or_else(|| io::Error::other(format!("`{}` is too large, or no whole blocks", self.name)))
    }
}

/// A file whose head is written, and that waits for its tensors.
pub struct GgufWriter<W> {
    out: W,
    /// How many bytes of tensors are written.
    at: usize,
    /// Where the tensor that is being written ends.
    end: usize,
    /// Where each of those to come begins and ends.
    spans: std::vec::IntoIter<(usize, usize)>,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the head of a file with these tensors, whose bytes are to follow in their order.
    ///
    /// # Errors
    /// What cannot be written; a tensor whose rows are no whole blocks of its type.
    pub fn new(mut out: W, metadata: &Metadata, tensors: &[TensorHead]) -> io::Result<Self> {
        let entries = || metadata.entries.iter().filter(|(key, _)| key != ALIGNMENT_KEY);
        let mut head = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        head.extend(
            [tensors.len(), entries().count()].iter().flat_map(|count| (*count as u64).to_le_bytes()),
        );
        for (key, value) in entries() {
            head.extend(text(key));
            head.extend(value);
        }
        let (mut spans, mut end) = (Vec::with_capacity(tensors.len()), 0);
        for tensor in tensors {
            let start = aligned(end);
            end = start + tensor.bytes()?;
            spans.push((start, end));
            head.extend(text(&tensor.name));
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            // The fastest dimension comes first there.
            head.extend(tensor.shape.iter().rev().flat_map(|size| (*size as u64).to_le_bytes()));
            head.extend(tensor.tensor_type.id().to_le_bytes());
            head.extend((start as u64).to_le_bytes());
        }
        head.resize(aligned(head.len()), 0);
        out.write_all(&head)?;
        Ok(Self { out, at: 0, end: 0, spans: spans.into_iter() })
    }

    /// Begins the next tensor.
    ///
    /// # Errors
    /// What cannot be written; a tensor too many; bytes of the one before that did not come.
    pub fn begin(&mut self) -> io::Result<()> {
        self.require_whole()?;
        let (start, end) = self.spans.next().ok_or_else(|| io::Error::other("a tensor too many"))?;
        self.out.write_all(&vec![0; start - self.at])?;
        (self.at, self.end) = (start, end);
        Ok(())
    }

    /// Writes the tensor's next bytes.
    ///
    /// # Errors
    /// What cannot be written; more bytes than the tensor has.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len();
        match self.at <= self.end {
            true => self.out.write_all(bytes),
            false => Err(io::Error::other(format!("{} bytes too many of a tensor", self.at - self.end))),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// What cannot be written, a tensor that did not come.
    pub fn finish(mut self) -> io::Result<()> {
        self.require_whole()?;
        if self.spans.next().is_some() {
            return Err(io::Error::other("a tensor too few"));
        }
        self.out.write_all(&vec![0; aligned(self.at) - self.at])
    }

    fn require_whole(&self) -> io::Result<()> {
        match self.end - self.at {
            0 => Ok(()),
            missing => Err(io::Error::other(format!("{missing} bytes too few of a tensor"))),
        }
    }
}

/// The next place at which a tensor may begin.
fn aligned(at: usize) -> usize {
    at.next_multiple_of(ALIGNMENT as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{Gguf, Value};

    fn head(name: &str, tensor_type: TensorType, shape: &[usize]) -> TensorHead {
        TensorHead { name: name.to_owned(), tensor_type, shape: shape.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_back_and_copied_entry_for_entry() {
        let mut metadata = Metadata::default();
        metadata.set_text("a.text", "not this");
        metadata.set_whole("a.whole", u32::MAX);
        metadata.set_real("a.real", 1e-6);
        metadata.set_flag("a.flag", true);
        metadata.set_texts("a.texts", ["one", "", "drei"]);
        metadata.set_wholes("a.wholes", &[-1, 7]);
        metadata.set_text("a.text", "ä");
        let tensors = [head("b", TensorType::F16, &[3]), head("a", TensorType::Q8_0, &[2, 32])];
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("x.gguf");
        let write = |metadata: &Metadata| {
            let mut writer =
                GgufWriter::new(std::fs::File::create(&path).unwrap(), metadata, &tensors).unwrap();
            writer.begin().and_then(|()| writer.write(&[1; 6])).unwrap();
            writer.begin().and_then(|()| writer.write(&[2; 34])).unwrap();
            writer.write(&[3; 34]).unwrap();
            writer.finish().unwrap();
            Gguf::open(&path).unwrap()
        };
        let read = write(&metadata);
        assert_eq!(read.text("a.text").unwrap(), Some("ä"));
        assert_eq!(read.whole("a.whole").unwrap(), Some(u32::MAX as usize));
        assert_eq!(read.real("a.real").unwrap(), Some(1e-6));
        assert_eq!(read.flag("a.flag").unwrap(), Some(true));
        assert_eq!(read.texts("a.texts").unwrap().unwrap().iter().collect::<Vec<_>>(), ["one", "", "drei"]);
        assert_eq!(read.value("a.wholes").and_then(Value::wholes).unwrap().collect::<Vec<_>>(), [-1, 7]);
        let info = &read.tensors()["a"];
        assert_eq!((info.tensor_type, &info.shape[..]), (TensorType::Q8_0, &[2, 32][..]));
        assert_eq!(read.read_rows(info, 1..2).unwrap(), [3; 34]);
        assert_eq!(read.read_rows(&read.tensors()["b"], 0..1).unwrap(), [1; 6]);
        let mut again = read.metadata().unwrap();
        assert_eq!(again, metadata);
        // Tensors are where this writer puts them, whatever the alignment of the file that was read.
        again.set_whole(ALIGNMENT_KEY, 4096);
        let read = write(&again);
        assert_eq!(read.read_rows(&read.tensors()["a"], 0..1).unwrap(), [2; 34]);
        assert!(!read.metadata().unwrap().has(ALIGNMENT_KEY) && read.metadata().unwrap().has("a.flag"));
    }

    #[test]
    fn another_number_of_tensors_or_bytes_is_an_error() {
        let tensors = [head("a", TensorType::F32, &[2])];
        let writer = || GgufWriter::new(Vec::new(), &Metadata::default(), &tensors).unwrap();
        assert!(writer().finish().is_err());
        let begun = || {
            let mut writer = writer();
            writer.begin().unwrap();
            writer
        };
        assert!(begun().write(&[0; 9]).is_err());
        let mut part = begun();
        part.write(&[0; 7]).unwrap();
        assert!(part.begin().is_err() && part.finish().is_err());
        let mut whole = begun();
        whole.write(&[0; 8]).unwrap();
        assert!(whole.begin().is_err());
        whole.finish().unwrap();
        let ragged = [head("a", TensorType::Q4K, &[2, 128])];
        assert!(GgufWriter::new(Vec::new(), &Metadata::default(), &ragged).is_err());
    }
}
