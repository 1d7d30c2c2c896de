//! Background sentences: the built-in generator, or books.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Split, built_in};
use crate::config::BackgroundSource;
use crate::files::read_text;
use crate::text::sentences;
use crate::{Error, Result, parquet_rows};

/// Of the texts of a Parquet file, so much is read: more than any context takes.
const MOST_PARQUET_BYTES: usize = 256 << 20;
/// Of each file, the last part of this size is held out.
const HELD_OUT_PART: f64 = 0.2;

/// A supply of background sentences of one split.
#[derive(Debug, Clone)]
pub enum Background {
    /// No sentences: contexts hold facts only.
    None,
    /// Sentences of the built-in grammar.
    BuiltIn(Split),
    /// Sentences of text files, in their order there, each once.
    Text {
        /// The file or folder.
        path: PathBuf,
        /// Its sentences.
        sentences: Vec<String>,
    },
}

impl Background {
    /// Opens a supply. Of each file the first four fifths serve training, the rest evaluation, without the
    /// sentences that training has. Files are of text, or Parquet with a column of texts: `text`, or the one that is
    /// named behind `#`, of which the first 256 MB count.
    ///
    /// # Errors
    /// If a file cannot be read, is not UTF-8 or holds no sentences for the split.
    pub fn open(source: &BackgroundSource, split: Split) -> Result<Self> {
        match source {
            BackgroundSource::None => Ok(Self::None),
            BackgroundSource::BuiltIn => Ok(Self::BuiltIn(split)),
            BackgroundSource::Path(path) => {
                let sentences = read(path, split)?;
                Ok(Self::Text { path: path.clone(), sentences })
            }
        }
    }

    /// Sentences for one context: none comes twice. Those of text files come in their order from a random
    /// start, and over from the beginning after the last.
    pub fn reader<'a>(&'a self, rng: &mut ChaCha8Rng) -> Reader<'a> {
        let start = match self {
            Self::Text { sentences, .. } if !sentences.is_empty() => rng.random_range(0..sentences.len()),
            _ => 0,
        };
        Reader { background: self, start, given: 0, used: HashSet::new() }
    }

    /// The error of a supply that ran out.
    pub(crate) fn too_short(&self, context_tokens: usize) -> Error {
        let reason =
            format!("too few sentences for a context of {context_tokens} tokens without repeating any");
        match self {
            Self::Text { path, sentences } => {
                Error::file(path, format!("{} sentences: {reason}", sentences.len()))
            }
            _ => Error::Invalid(format!("built-in background: {reason}")),
        }
    }
}

/// Hands out the sentences of one context.
#[derive(Debug)]
pub struct Reader<'a> {
    background: &'a Background,
    start: usize,
    given: usize,
    used: HashSet<String>,
}

impl Reader<'_> {
    /// The next sentence; `None` when there is no further one.
    pub fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<String> {
        match self.background {
            Background::None => None,
            Background::BuiltIn(split) => {
                // Failing this often means that nearly all sentences are used.
                let fresh =
                    (0..1_000).map(|_| built_in::sentence(*split, rng)).find(|s| !self.used.contains(s))?;
                self.used.insert(fresh.clone());
                Some(fresh)
            }
            Background::Text { sentences, .. } => {
                let index = (self.start + self.given) % sentences.len().max(1);
                let sentence = (self.given < sentences.len()).then(|| sentences[index].clone());
                self.given += 1;
                sentence
            }
        }
    }
}

/// Sentences of the split in all files, without repetitions.
fn read(path: &Path, split: Split) -> Result<Vec<String>> {
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    let (place, column) = place_and_column(path);
    for file in files(&place)? {
        let text = match is_parquet(&file) {
            true => parquet_rows::texts(&file, &column, MOST_PARQUET_BYTES)?.join("\n\n"),
            false => read_text(&file)?,
        };
        let mut found: Vec<String> = sentences::split(&text).into_iter().filter_map(clean).collect();
        if found.is_empty() {
            return Err(Error::file(&file, "no sentences: a background file holds running text"));
        }
        let last = (found.len() as f64 * HELD_OUT_PART).ceil() as usize;
        held_out.extend(found.split_off(found.len() - last));
        train.extend(found);
    }
    let mut seen = HashSet::new();
    train.retain(|s| seen.insert(s.clone()));
    held_out.retain(|s| seen.insert(s.clone()));
    let sentences = match split {
        Split::Train => train,
        Split::HeldOut => held_out,
    };
    if sentences.is_empty() {
        return Err(Error::file(path, "too few sentences to part them into training and held-out ones"));
    }
    Ok(sentences)
}

/// `folder#column` in its parts; a path that is there may hold a `#` of its own.
fn place_and_column(path: &Path) -> (PathBuf, String) {
    let text = path.to_string_lossy();
    match text.rsplit_once('#') {
        Some((place, column)) if !path.exists() && !column.is_empty() => (place.into(), column.to_owned()),
        _ => (path.to_owned(), "text".to_owned()),
    }
}

fn is_parquet(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "parquet")
}

/// The file itself, or all `.txt` and `.parquet` files of a folder by name.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let file = entry.map_err(|e| Error::io(path, e))?.path();
        if (file.extension().is_some_and(|ending| ending == "txt") || is_parquet(&file)) && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Error::file(path, "a background folder without .txt or .parquet files"));
    }
    files.sort();
    Ok(files)
}

/// The sentence on one line with single spaces; `None` for headings, tables of contents and the like: what
/// does not begin with a capital or a quote, does not end with a stop, or has few small letters.
fn clean(sentence: &str) -> Option<String> {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let line = words.join(" ");
    let first = line.chars().next()?;
    let begins = first.is_uppercase() || matches!(first, '"' | '“' | '‘' | '\'' | '_');
    let last = line.trim_end_matches(['"', '”', '’', '\'', ')', ']', '_', '*']);
    let ends = last.ends_with(['.', '!', '?', '…']);
    let small = line.chars().filter(|c| c.is_lowercase()).count();
    (begins && ends && !line.contains(". . .") && small * 2 > line.chars().count()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet_rows::tests::write_parquet;
    use crate::tasks::stream::{Purpose, stream};

    const TEXT: &str = "THE BOOK\n\n  1. CHAPTER ONE ..... 11\n\nIt was a wet and\nwindy night. Nobody came! Nobody \
                        came! \"Who is there?\" asked the host. He heard\nno answer.\n\nThe end was near.";

    fn all(background: &Background, seed: u64) -> Vec<String> {
        let mut rng = stream(seed, Split::Train, Purpose::Background, 0);
        let mut reader = background.reader(&mut rng);
        std::iter::from_fn(|| reader.next(&mut rng)).collect()
    }

    #[test]
    fn sentences_of_a_hard_wrapped_book_come_once_each_in_order_and_parted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), TEXT).unwrap();
        std::fs::write(folder.path().join("notes.tsv"), "not\ttext").unwrap();
        let open = |split| Background::open(&BackgroundSource::Path(folder.path().into()), split).unwrap();
        let held_out = all(&open(Split::HeldOut), 0);
        assert_eq!(held_out, ["He heard no answer.", "The end was near."]);
        let train = all(&open(Split::Train), 0);
        let book = ["It was a wet and windy night.", "Nobody came!", "\"Who is there?\" asked the host."];
        let start = book.iter().position(|s| *s == train[0]).unwrap();
        assert_eq!(train, (0..3).map(|i| book[(start + i) % 3]).collect::<Vec<_>>());
    }

    #[test]
    fn a_column_of_a_parquet_file_is_background_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let texts = ["It was late. Nobody came.", "He heard no answer. The end was near. It rained."];
        write_parquet(&path, &[("text", &["Other.", "Texts."]), ("body", &texts)]);
        let open = |place: String, split| Background::open(&BackgroundSource::Path(place.into()), split);
        for place in [folder.path(), path.as_path()] {
            let place = format!("{}#body", place.display());
            let held_out = open(place.clone(), Split::HeldOut).unwrap();
            assert_eq!(all(&held_out, 0), ["It rained."]);
            assert_eq!(all(&open(place, Split::Train).unwrap(), 0).len(), 4);
        }
        let message = open(format!("{}#none", path.display()), Split::Train).unwrap_err().to_string();
        assert!(message.contains("rows.parquet") && message.contains("`none`"), "{message}");
    }

    #[test]
    fn a_file_without_sentences_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| Background::open(&BackgroundSource::Path(path.into()), Split::Train);
        assert!(open(folder.path()).unwrap_err().to_string().contains(".txt"));
        let file = folder.path().join("empty.txt");
        std::fs::write(&file, "").unwrap();
        assert!(open(&file).unwrap_err().to_string().contains("empty.txt"));
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(open(folder.path()).unwrap_err().to_string().contains("empty.txt"));
        assert!(open(Path::new("no/such/file")).unwrap_err().to_string().contains("no/such/file"));
    }

    #[test]
    fn built_in_lines_do_not_repeat_in_one_context() {
        let background = Background::BuiltIn(Split::HeldOut);
        let mut rng = stream(3, Split::HeldOut, Purpose::Background, 0);
        let mut reader = background.reader(&mut rng);
        let lines: Vec<String> = (0..3_000).map(|_| reader.next(&mut rng).unwrap()).collect();
        assert_eq!(lines.iter().collect::<HashSet<_>>().len(), lines.len());
    }
}
