//! Student records: contexts of one-sentence records, and questions that one, a few or all of them decide.
//!
//! The task follows the student records of PERK (Chen et al. 2025, arXiv 2507.06415). A record is a document:
//! `Student 4271: name Alice Brown, year junior, school Law, major Physics, grade 87.` Ids and names are unique
//! in a context; all other fields are drawn anew for every context, so nothing that is known of a name in one
//! holds in another.

mod question;
mod record;

use rand::seq::SliceRandom;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use self::question::Question;
use self::record::{Record, Registry};
use super::stream::{Purpose, stream};
use super::{Episode, EpisodeSource, Position, Qa, Split};
use crate::config::{DataConfig, QuestionsAbout};
use crate::text::Tokenizer;
use crate::{Error, Result};

/// Contexts with tokens have at least so many records.
const FEWEST: usize = 2;

/// Episodes of student records; they never end.
///
/// An index has the same records asked about, and the same questions, at every length and position; longer
/// contexts hold the other records of the shorter ones and more. Answers stay the same too, but for questions
/// about a whole group (aggregate and count): every record counts there, so the answer follows the records.
#[derive(Debug, Clone)]
pub struct RecordSource {
    /// What questions are about.
    pub about: QuestionsAbout,
    /// Questions about one context, each about students of its own: from 1 to [`DataConfig::MAX_RECORD_QUESTIONS`].
    pub questions: usize,
    /// Tokens of a context: at most these, short of them by less than one record. The records asked about are
    /// all kept, and there are always two; at 0 tokens there are only those asked about.
    pub context_tokens: usize,
    /// Where among the others the records asked about lie. Where a whole group is asked about, two or fewer of
    /// its members lie there and the others anywhere.
    pub position: Position,
    /// What tokens are counted with.
    pub tokenizer: Tokenizer,
    /// Which part of the data: the random streams of the two are independent.
    pub split: Split,
    /// Decides everything.
    pub seed: u64,
}

impl EpisodeSource for RecordSource {
    fn len(&self) -> Option<u64> {
        None
    }

    fn episode(&self, index: u64) -> Result<Episode> {
        let rng = |purpose| stream(self.seed, self.split, purpose, index);
        let mut class = Class::draw(self.about, self.questions, &mut rng(Purpose::Facts));
        let asked = class.records.len();
        self.fill(&mut class, &mut rng(Purpose::Background))?;
        let order = order(class.records.len(), asked, self.position, &mut rng(Purpose::Order));
        let documents = order.iter().map(|&i| class.records[i].to_string()).collect();
        Ok(Episode {
            name: format!("{} #{index}", self.about.name()),
            documents,
            facts: vec![],
            qa: class.qa(&order),
        })
    }
}

impl RecordSource {
    /// Adds records up to the wanted tokens.
    fn fill(&self, class: &mut Class, rng: &mut ChaCha8Rng) -> Result<()> {
        let mut tokens = 0;
        for record in &class.records {
            tokens += self.count(record)?;
        }
        let fewest = if self.context_tokens == 0 { 0 } else { FEWEST };
        while class.records.len() < fewest || tokens < self.context_tokens {
            if class.registry.is_full() {
                let (wanted, most) = (self.context_tokens, Registry::MOST);
                let reason =
                    format!("{most} student records, the most there are, have {tokens} tokens, not {wanted}");
                return Err(Error::Invalid(format!("{reason}: ask for shorter contexts")));
            }
            let record = class.registry.draw(rng);
            tokens += self.count(&record)?;
            if class.records.len() >= fewest && tokens > self.context_tokens {
                break;
            }
            class.records.push(record);
        }
        Ok(())
    }

    /// Tokens of a record on its line.
    fn count(&self, record: &Record) -> Result<usize> {
        Ok(self.tokenizer.encode(&format!("{record}\n"))?.len())
    }
}

/// Records, those asked about first, and questions about them.
struct Class {
    registry: Registry,
    records: Vec<Record>,
    questions: Vec<Question>,
}

impl Class {
    /// The records that questions are about.
    fn draw(about: QuestionsAbout, questions: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut class = Self { registry: Registry::default(), records: Vec::new(), questions: Vec::new() };
        for _ in 0..questions.clamp(1, DataConfig::MAX_RECORD_QUESTIONS) {
            let Self { registry, records, questions } = &mut class;
            let question = question::draw(about, questions, registry, records, rng);
            questions.push(question);
        }
        class
    }

    /// The questions. Their support has the named students in the order of the question, the members of a group in
    /// that of the context.
    fn qa(&self, order: &[usize]) -> Vec<Qa> {
        let qa = |question: &Question| {
            let mut support = question.support(&self.records);
            if question.is_about_a_group() {
                support.sort_by_key(|record| order.iter().position(|place| place == record));
            }
            let support = support.into_iter().map(|i| self.records[i].to_string()).collect();
            Qa::new(question.text(&self.records), question.answer(&self.records), support)
        };
        self.questions.iter().map(qa).collect()
    }
}

/// The order of `total` records, of which the first `asked` come at random places of the wanted third, or as
/// near to it as they fit.
fn order(total: usize, asked: usize, position: Position, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let third = |i: usize| (total * i / 3, (total * (i + 1) / 3));
    let (start, end) = match position {
        Position::Pre => third(0),
        Position::Mid => third(1),
        Position::Post => third(2),
        Position::Random => (0, total),
    };
    let width = (end - start).max(asked);
    let start = match position {
        Position::Mid if width > end - start => (total - width) / 2,
        _ => start.min(total - width),
    };
    let mut order = vec![usize::MAX; total];
    for (i, place) in sample(rng, width, asked).into_iter().enumerate() {
        order[start + place] = i;
    }
    let free = order.iter_mut().filter(|place| **place == usize::MAX);
    free.zip(asked..total).for_each(|(place, other)| *place = other);
    order
}

/// Some sentences, of the records asked about and `others`, and a question about them.
pub(crate) fn small(about: QuestionsAbout, others: usize, rng: &mut ChaCha8Rng) -> (Vec<String>, Option<Qa>) {
    let mut class = Class::draw(about, 1, rng);
    for _ in 0..others {
        let record = class.registry.draw(rng);
        class.records.push(record);
    }
    let mut order: Vec<usize> = (0..class.records.len()).collect();
    order.shuffle(rng);
    let sentences = order.iter().map(|&i| class.records[i].to_string()).collect();
    (sentences, class.qa(&order).pop())
}

/// Texts that hold every word of records, questions and answers but digits, `:` and `.`.
pub(crate) fn lexicon() -> impl Iterator<Item = String> {
    record::lexicon().chain([question::lexicon()])
}
