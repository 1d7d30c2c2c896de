//! Who is told how downloads go on.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

/// How far the download of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress<'a> {
    /// The file's path in its repository.
    pub file: &'a str,
    /// What is there, in bytes; a download that was broken off before does not begin at 0.
    pub done_bytes: u64,
    /// All of it, in bytes.
    pub bytes: u64,
}

type Watch = dyn Fn(&FetchProgress<'_>) + Send + Sync;

/// Told how far a download is; by default nobody is.
#[derive(Clone, Default)]
pub struct FetchWatch(Option<Arc<Watch>>);

impl FetchWatch {
    /// `watch` is called for every piece that comes, from a thread of the download.
    pub fn new(watch: impl Fn(&FetchProgress<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watch)))
    }

    pub(super) fn tell(&self, progress: &FetchProgress<'_>) {
        if let Some(watch) = &self.0 {
            watch(progress);
        }
    }

    /// `out`, so that what is written to it is told as more of `from`.
    pub(super) fn through<'a>(&'a self, from: FetchProgress<'a>, out: impl Write + 'a) -> impl Write + 'a {
        Told { watch: self, progress: from, out }
    }
}

/// Who is told changes nothing of what is fetched.
impl PartialEq for FetchWatch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for FetchWatch {}

impl fmt::Debug for FetchWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "somebody" } else { "nobody" })
    }
}

struct Told<'a, W> {
    watch: &'a FetchWatch,
    progress: FetchProgress<'a>,
    out: W,
}

impl<W: Write> Write for Told<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.progress.done_bytes += written as u64;
        self.watch.tell(&self.progress);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_piece_is_told_with_what_was_there_before() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let watch = FetchWatch::new(move |progress| log.lock().unwrap().push(progress.done_bytes));
        let mut written = Vec::new();
        let mut out = watch.through(FetchProgress { file: "a", done_bytes: 5, bytes: 9 }, &mut written);
        out.write_all(b"12").unwrap();
        out.write_all(b"34").unwrap();
        drop(out);
        assert_eq!((written.as_slice(), told.lock().unwrap().as_slice()), (&b"1234"[..], &[7, 9][..]));
    }
}
