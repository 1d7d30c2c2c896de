//! The head of a GGUF file: metadata by key, and where its tensors lie.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::TensorType;
use super::reader::{Outcome, Reader};
use super::value::{Texts, Value};
use super::writer::{ALIGNMENT_KEY, Metadata};
use crate::error::{shown, shown_path};
use crate::files::require_itself;
use crate::{Error, Result};

pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensors begin, if `general.alignment` does not say otherwise.
pub(super) const ALIGNMENT: u64 = 32;
const MOST_DIMENSIONS: u32 = 4;

/// Whether a file begins as GGUF files do; one that cannot be read does not.
pub fn is_gguf(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its type.
    pub tensor_type: TensorType,
    /// Its dimensions, the slowest first, as everywhere but in GGUF.
    pub shape: Vec<usize>,
    /// Where it begins in the file.
    start: u64,
    /// How long it is there.
    bytes: usize,
}

impl TensorInfo {
    /// How long it is in the file, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A file of which the head was read.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    values: HashMap<String, Value>,
    /// Where each value, with its kind, is in the file, in its order.
    spans: Vec<(String, Range<u64>)>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Reads the head of a file, and checks that it has room for every tensor.
    ///
    /// # Errors
    /// A file that cannot be read, is no GGUF file of version 2 or 3, is cut short, or has tensors of a type that is not
    /// supported.
    pub fn open(path: &Path) -> Result<Self> {
        require_itself(path)?;
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let bytes = file.metadata().map_err(|e| Error::io(path, e))?.len();
        let mut reader = Reader::new(BufReader::new(file), bytes);
        let Head { values, spans, tensors } =
            read_head(&mut reader).map_err(|reason| Error::file(path, shown(&reason)))?;
        let mut gguf = Self { path: path.to_owned(), values, spans, tensors: BTreeMap::new() };
        let alignment = gguf.whole(ALIGNMENT_KEY)?.map_or(ALIGNMENT, |alignment| alignment as u64);
        if !alignment.is_power_of_two() {
            return Err(gguf.fault(format!("`{ALIGNMENT_KEY}` is {alignment}, expected a power of two")));
        }
        let data = reader.position().checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        for (name, info) in tensors {
            let info = info.placed(data, bytes).map_err(|reason| Error::tensor(path, &name, reason))?;
            if gguf.tensors.insert(name.clone(), info).is_some() {
                return Err(Error::tensor(path, name, "is in the file twice"));
            }
        }
        Ok(gguf)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error of this file.
    pub fn fault(&self, reason: impl Into<String>) -> Error {
        Error::file(&self.path, reason)
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The bytes of some rows of a tensor, each as wide as its last dimension: `rows.len()` of them from the first on.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read_rows(&self, info: &TensorInfo, rows: Range<usize>) -> Result<Vec<u8>> {
        let count: usize = info.shape.iter().rev().skip(1).product();
        assert!(rows.start <= rows.end && rows.end <= count, "rows of the tensor");
        let each = info.bytes / count.max(1);
        self.read(info.start + (rows.start * each) as u64, rows.len() * each)
    }

    /// All metadata, as the file has it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn metadata(&self) -> Result<Metadata> {
        let mut metadata = Metadata::default();
        for (key, span) in &self.spans {
            metadata.set(key, self.read(span.start, (span.end - span.start) as usize)?);
        }
        Ok(metadata)
    }

    /// So many bytes of the file.
    fn read(&self, start: u64, bytes: usize) -> Result<Vec<u8>> {
        let fault = |e| Error::io(&self.path, e);
        let mut into = vec![0; bytes];
        let mut file = File::open(&self.path).map_err(fault)?;
        file.seek(SeekFrom::Start(start)).map_err(fault)?;
        file.read_exact(&mut into).map_err(fault)?;
        Ok(into)
    }

    /// A value.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The error of a value of another kind.
    pub fn unfit(&self, key: &str, value: &Value, expected: &str) -> Error {
        self.fault(shown(&format!("`{key}` is {}, expected {expected}", value.described())))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.unfit(key, value, expected))
    }

    /// A whole number from 0 on, if the key is there.
    ///
    /// # Errors
    /// A value of another kind.
    pub fn whole(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number", |value| match value {
            Value::Whole(number) => usize::try_from(*number).ok(),
            _ => None,
        })
    }

    /// A number, if the key is there.
    ///
    /// # Errors
    /// A value of another kind.
    pub fn real(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", |value| match value {
            Value::Real(number) => Some(*number),
            Value::Whole(number) => Some(*number as f64),
            _ => None,
        })
    }

    /// True or false, if the key is there.
    ///
    /// # Errors
    /// A value of another kind.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A text, if the key is there.
    ///
    /// # Errors
    /// A value of another kind.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A list of texts, if the key is there.
    ///
    /// # Errors
    /// A value of another kind.
    pub fn texts(&self, key: &str) -> Result<Option<&Texts>> {
        self.typed(key, "a list of texts", |value| match value {
            Value::Texts(texts) => Some(texts),
            _ => None,
        })
    }

    /// What must be there.
    ///
    /// # Errors
    /// A key that is not there, or what reading it failed with.
    pub fn needed<T>(&self, key: &str, found: Result<Option<T>>) -> Result<T> {
        found?.ok_or_else(|| self.fault(format!("has no `{key}`, which a model's file needs")))
    }
}

/// A tensor as the head has it.
struct Stated {
    tensor_type: u32,
    shape: Vec<u64>,
    offset: u64,
}

#[derive(Default)]
struct Head {
    values: HashMap<String, Value>,
    spans: Vec<(String, Range<u64>)>,
    tensors: Vec<(String, Stated)>,
}

fn read_head<R: Read>(reader: &mut Reader<R>) -> Outcome<Head> {
    const START: &str = "its beginning";
    if reader.u32(START).map(u32::to_le_bytes) != Ok(MAGIC) {
        return Err("is not a GGUF file".to_owned());
    }
    match reader.u32(START)? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            return Err("is for machines with big-endian numbers".to_owned());
        }
        version => {
            return Err(format!(
                "is of version {version} of GGUF, and 2 and 3 are supported: convert it anew"
            ));
        }
    }
    let (tensors, values) = (reader.u64(START)?, reader.u64(START)?);
    let mut head = Head::default();
    for _ in 0..values {
        let key = reader.text("a key of its metadata")?;
        let start = reader.position();
        let value = reader.value(&key)?;
        if head.values.insert(key.clone(), value).is_some() {
            return Err(format!("is damaged: it has `{key}` twice"));
        }
        head.spans.push((key, start..reader.position()));
    }
    for _ in 0..tensors {
        let name = reader.text("the name of a tensor")?;
        let what = format!("the entry of the tensor `{name}`");
        let dimensions = reader.u32(&what)?;
        if dimensions > MOST_DIMENSIONS {
            return Err(format!("is damaged: {what} has {dimensions} dimensions"));
        }
        let shape = (0..dimensions).map(|_| reader.u64(&what)).collect::<Outcome<Vec<u64>>>()?;
        // The fastest comes first there, and last here.
        let shape = shape.into_iter().rev().collect();
        head.tensors
            .push((name, Stated { shape, tensor_type: reader.u32(&what)?, offset: reader.u64(&what)? }));
    }
    Ok(head)
}

impl Stated {
    /// Where the tensor lies, in a file of `file_bytes` whose tensors begin at `data`.
    fn placed(self, data: u64, file_bytes: u64) -> Outcome<TensorInfo> {
        let tensor_type = TensorType::from_id(self.tensor_type)?;
        let whole = |size: &u64| usize::try_from(*size).ok();
        let shape = self.shape.iter().map(whole).collect::<Option<Vec<usize>>>();
        let numbers =
            |shape: &Vec<usize>| shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let too_large = || format!("is damaged: its shape is {:?}", self.shape);
        let shape = shape.ok_or_else(too_large)?;
        let bytes = numbers(&shape).and_then(|count| tensor_type.bytes(count)).ok_or_else(too_large)?;
        let (width, block) = (shape.last().copied().unwrap_or(1), tensor_type.block());
        if !width.is_multiple_of(block) {
            return Err(format!(
                "has rows of {width} numbers, which are no whole blocks of {tensor_type} ({block})"
            ));
        }
        let start = data.checked_add(self.offset);
        let end = start.and_then(|start| start.checked_add(bytes as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_bytes => {
                Ok(TensorInfo { tensor_type, shape, start, bytes })
            }
            _ => Err(format!(
                "does not lie within the file: {bytes} bytes from byte {} on, of {file_bytes}: is the file cut short?",
                start.map_or("beyond".to_owned(), |start| start.to_string())
            )),
        }
    }
}

impl Gguf {
    /// Refuses a file that is a part of several.
    ///
    /// # Errors
    /// If it is.
    pub fn require_whole(&self) -> Result<()> {
        match self.whole("split.count")? {
            Some(parts @ 2..) => Err(self.fault(format!(
                "is one of {parts} parts: join them with `llama-gguf-split --merge {} whole.gguf`",
                shown_path(&self.path)
            ))),
            _ => Ok(()),
        }
    }
}
