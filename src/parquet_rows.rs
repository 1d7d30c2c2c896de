//! Rows of Parquet files.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::files::require_itself;
use crate::panics::caught;
use crate::{Error, Result};

/// All rows, each an object of its columns.
///
/// # Errors
/// A file that cannot be read or is no Parquet file.
pub(crate) fn all(path: &Path) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    each(path, |row| {
        rows.push(row);
        Ok(true)
    })?;
    Ok(rows)
}

/// The texts of a column, from the first row on until they have `most_bytes` together; rows without one are left out.
///
/// # Errors
/// As [`all`], and a file without such a column of texts.
pub(crate) fn texts(path: &Path, column: &str, most_bytes: usize) -> Result<Vec<String>> {
    let (mut texts, mut bytes) = (Vec::new(), 0);
    each(path, |mut row| match row.as_object_mut().and_then(|row| row.remove(column)) {
        Some(Value::String(text)) => {
            bytes += text.len();
            texts.push(text);
            Ok(bytes < most_bytes)
        }
        Some(Value::Null) => Ok(true),
        Some(_) => Err(format!("its column `{column}` is not of text")),
        None => {
            let names: Vec<&String> = row.as_object().map(|row| row.keys().collect()).unwrap_or_default();
            Err(format!("has no column `{column}`: it has {names:?}; name one behind #, as in file#column"))
        }
    })?;
    Ok(texts)
}

/// Gives every row to `take` until it returns false or an error.
fn each(path: &Path, mut take: impl FnMut(Value) -> std::result::Result<bool, String>) -> Result<()> {
    let broken = |reason: String| Error::file(path, format!("not a Parquet file that can be read: {reason}"));
    require_itself(path)?;
    let file = File::open(path).map_err(|fault| Error::io(path, fault))?;
    let read = || -> Result<()> {
        let fault = |fault: parquet::errors::ParquetError| broken(fault.to_string());
        let reader = SerializedFileReader::new(file).map_err(fault)?;
        for row in reader.get_row_iter(None).map_err(fault)? {
            let row = row.map_err(fault)?.to_json_value();
            if !take(row).map_err(|reason| Error::file(path, reason))? {
                break;
            }
        }
        Ok(())
    };
    // The library asserts what a damaged file need not keep to.
    caught(read).unwrap_or_else(|_| Err(broken("it is damaged".to_owned())))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use serde_json::json;

    use super::*;

    /// Writes a Parquet file of text columns.
    pub(crate) fn write_parquet(path: &Path, columns: &[(&str, &[&str])]) {
        write_packed(path, columns, Compression::SNAPPY);
    }

    fn write_packed(path: &Path, columns: &[(&str, &[&str])], compression: Compression) {
        let fields = columns.iter().map(|(name, _)| format!("REQUIRED BYTE_ARRAY {name} (UTF8);"));
        let schema = format!("message rows {{ {} }}", fields.collect::<String>());
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for (_, texts) in columns {
            let texts: Vec<ByteArray> = texts.iter().map(|&text| text.into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn a_column_is_read_until_it_is_enough_and_one_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        write_parquet(&path, &[("text", &["one", "two", "three"]), ("url", &["a", "b", "c"])]);
        assert_eq!(texts(&path, "text", 100).unwrap(), ["one", "two", "three"]);
        assert_eq!(texts(&path, "url", 2).unwrap(), ["a", "b"]);
        let message = texts(&path, "body", 100).unwrap_err().to_string();
        assert!(message.contains("no column `body`") && message.contains("url"), "{message}");
    }

    #[test]
    fn a_parquet_file_is_read_however_it_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let long = "the same text over and over ".repeat(100);
        for (number, packing) in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(Default::default()),
            Compression::BROTLI(Default::default()),
            Compression::LZ4,
            Compression::LZ4_RAW,
            Compression::ZSTD(Default::default()),
        ]
        .into_iter()
        .enumerate()
        {
            let path = folder.path().join(format!("{number}.parquet"));
            write_packed(&path, &[("a", &[&long])], packing);
            assert_eq!(all(&path).unwrap(), [json!({ "a": long })], "{packing:?}");
        }
    }

    #[test]
    fn a_parquet_file_that_makes_its_library_panic_is_one_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        write_parquet(&path, &[("a", &["x", "y", "x"]), ("b", &["z", "z", "z"])]);
        let whole = std::fs::read(&path).unwrap();
        let mut panics = 0;
        for at in 0..whole.len() {
            for bits in [1, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= bits;
                std::fs::write(&path, damaged).unwrap();
                if let Err(error) = all(&path) {
                    let message = error.to_string();
                    assert!(message.contains("rows.parquet"), "{message}");
                    panics += usize::from(message.ends_with("it is damaged"));
                }
            }
        }
        assert!(panics > 0, "the library does not panic any more: it need not be watched");
    }
}
