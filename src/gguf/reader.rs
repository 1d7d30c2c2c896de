//! Bytes of a file one after the other, no more than it has.

use std::io::Read;

use super::value::{Kind, Texts, Value};

/// Arrays of arrays are read, and left alone; deeper ones than this are no metadata.
const DEEPEST: usize = 4;

/// A file of which `left` bytes are still to be read.
pub(super) struct Reader<R> {
    inner: R,
    position: u64,
    left: u64,
}

/// What was read, or what is wrong with the file.
pub(super) type Outcome<T> = Result<T, String>;

impl<R: Read> Reader<R> {
    pub fn new(inner: R, bytes: u64) -> Self {
        Self { inner, position: 0, left: bytes }
    }

    /// Bytes that are read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Says that `bytes` are to come, before memory is taken for them.
    fn require(&self, bytes: u64, what: &str) -> Outcome<()> {
        match bytes <= self.left {
            true => Ok(()),
            false => Err(format!(
                "is cut short or damaged: {what} needs {bytes} bytes, and {} are left",
                self.left
            )),
        }
    }

    fn fill(&mut self, into: &mut [u8], what: &str) -> Outcome<()> {
        self.require(into.len() as u64, what)?;
        self.inner.read_exact(into).map_err(|fault| format!("cannot be read at {what}: {fault}"))?;
        self.position += into.len() as u64;
        self.left -= into.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &str) -> Outcome<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub fn u32(&mut self, what: &str) -> Outcome<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Outcome<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// So many bytes.
    fn bytes(&mut self, count: u64, what: &str) -> Outcome<Vec<u8>> {
        self.require(count, what)?;
        let mut bytes = vec![0; usize::try_from(count).map_err(|_| format!("{what} is too long"))?];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// A text behind its length.
    pub fn text(&mut self, what: &str) -> Outcome<String> {
        let length = self.u64(what)?;
        let mut bytes = self.bytes(length, what)?;
        // Some writers count the zero that ends a text in C.
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        String::from_utf8(bytes).map_err(|fault| {
            let at = fault.utf8_error().valid_up_to();
            format!("{what} is no text in UTF-8 (its byte {at})")
        })
    }

    /// A value of metadata behind its kind.
    pub fn value(&mut self, key: &str) -> Outcome<Value> {
        let what = format!("the value of `{key}`");
        let kind = self.kind(&what)?;
        self.value_of(kind, &what, 0)
    }

    fn kind(&mut self, what: &str) -> Outcome<Kind> {
        let id = self.u32(what)?;
        Kind::from_id(id)
            .ok_or_else(|| format!("is damaged: {what} is of kind {id}, which GGUF does not have"))
    }

    fn value_of(&mut self, kind: Kind, what: &str, depth: usize) -> Outcome<Value> {
        match kind {
            Kind::Text => self.text(what).map(Value::Text),
            Kind::List => self.list(what, depth),
            number => {
                let mut bytes = [0; 8];
                let bytes = &mut bytes[..number.size()];
                self.fill(bytes, what)?;
                Value::number(number, bytes)
                    .ok_or_else(|| format!("is damaged: {what} is {bytes:?}, no truth value"))
            }
        }
    }

    fn list(&mut self, what: &str, depth: usize) -> Outcome<Value> {
        if depth >= DEEPEST {
            return Err(format!("is damaged: {what} is nested too deep"));
        }
        let (kind, count) = (self.kind(what)?, self.u64(what)?);
        match kind {
            Kind::Text => {
                let mut texts = Texts::default();
                for nth in 0..count {
                    // The name of the entry is only made where it is needed.
                    let text = self.text(what).map_err(|fault| format!("{fault}, entry {nth} of {count}"))?;
                    texts.push(&text);
                }
                Ok(Value::Texts(texts))
            }
            Kind::List => {
                for _ in 0..count {
                    self.list(what, depth + 1)?;
                }
                Ok(Value::Nested)
            }
            number => {
                let size = count.checked_mul(number.size() as u64);
                let bytes = size.ok_or_else(|| format!("is damaged: {what} has {count} entries"))?;
                Ok(Value::Numbers(number, self.bytes(bytes, what)?))
            }
        }
    }
}
