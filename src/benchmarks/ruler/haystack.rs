//! What needles are hidden in: sentences that say nothing, or a running text.

use std::borrow::Cow;

use super::job::Job;
use crate::tasks::background::Background;
use crate::{Error, Result};

/// The sentences that RULER repeats.
pub(super) const NOISE: &str =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/// Pieces of a haystack, as many as are wanted: over again from the first once they end, as RULER repeats its essays.
pub(super) struct Supply<'a> {
    more: Box<dyn FnMut() -> Option<Cow<'static, str>> + 'a>,
    /// The pieces that came so far.
    found: Vec<Cow<'static, str>>,
    is_whole: bool,
}

impl<'a> Supply<'a> {
    /// The pieces that `more` gives until it gives none, of which there is one.
    pub(super) fn new(more: impl FnMut() -> Option<Cow<'static, str>> + 'a) -> Self {
        Self { more: Box::new(more), found: Vec::new(), is_whole: false }
    }

    /// [`NOISE`] again and again.
    pub(super) fn noise() -> Self {
        let mut once = Some(Cow::Borrowed(NOISE));
        Self::new(move || once.take())
    }

    /// The sentences of the background from a random one on.
    ///
    /// # Errors
    /// A background without sentences.
    pub(super) fn essay(job: &Job<'a>) -> Result<Self> {
        if matches!(job.background, Background::None) {
            let reason = "hides its needles in a running text, and there is none: name a book as background";
            return Err(Error::Invalid(format!("{} {reason}", job.room.name)));
        }
        let mut rng = job.streams.haystack();
        let mut reader = job.background.reader(&mut rng);
        Ok(Self::new(move || reader.next(&mut rng).map(Cow::Owned)))
    }

    /// The first `count` pieces.
    pub(super) fn first(&mut self, count: usize) -> Vec<&str> {
        while self.found.len() < count && !self.is_whole {
            match (self.more)() {
                Some(piece) => self.found.push(piece),
                None => self.is_whole = true,
            }
        }
        self.found.iter().map(AsRef::as_ref).cycle().take(count).collect()
    }
}

/// `lines` with each of `needles` before the line whose index stands at its place in `gaps`, which never fall; the
/// number of lines is the index of the end.
pub(super) fn weave<'a>(lines: &[&'a str], needles: &'a [String], gaps: &[usize]) -> Vec<&'a str> {
    let mut woven: Vec<&str> = Vec::with_capacity(lines.len() + needles.len());
    let mut from = 0;
    for (needle, &gap) in needles.iter().zip(gaps) {
        woven.extend(&lines[from..gap]);
        woven.push(needle);
        from = gap;
    }
    woven.extend(&lines[from..]);
    woven
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needles_lie_before_the_lines_of_their_gaps() {
        let needles = ["x", "y", "z"].map(str::to_owned);
        assert_eq!(weave(&["a", "b"], &needles, &[0, 1, 2]), ["x", "a", "y", "b", "z"]);
        assert_eq!(weave(&["a", "b"], &needles, &[1, 1, 1]), ["a", "x", "y", "z", "b"]);
        assert_eq!(weave(&["a", "b"], &[], &[]), ["a", "b"]);
    }

    #[test]
    fn a_supply_begins_again_once_it_ends() {
        let mut letters = ["a", "b", "c"].into_iter();
        let mut supply = Supply::new(move || letters.next().map(Cow::Borrowed));
        assert_eq!(supply.first(2), ["a", "b"]);
        assert_eq!(supply.first(7), ["a", "b", "c", "a", "b", "c", "a"]);
        assert_eq!(Supply::noise().first(3), [NOISE; 3]);
    }
}
