//! Variable tracking: which variables have a value that is handed on from one to the next, among noise.

use rand::Rng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::fill::Room;
use super::haystack::{Supply, weave};
use super::job::{Job, Made, Streams};
use super::prompt::Prompt;
use crate::Result;

/// How often the value is handed on.
const HOPS: usize = 4;
/// Letters of a variable's name, and of one in the example.
const LETTERS: usize = 5;
const EXAMPLE_LETTERS: usize = 3;
/// The example's prompt is as long as these tokens allow.
const EXAMPLE_TOKENS: usize = 500;

/// A value, the variables that get it in their turn, and the lines that say so.
struct Chain {
    value: u32,
    variables: Vec<String>,
    lines: Vec<String>,
}

impl Chain {
    fn draw(letters: usize, rng: &mut ChaCha8Rng) -> Self {
        let value = rng.random_range(10_000..=99_998);
        let mut variables: Vec<String> = Vec::with_capacity(HOPS + 1);
        while variables.len() <= HOPS {
            let name: String = (0..letters).map(|_| char::from(rng.random_range(b'A'..=b'Z'))).collect();
            // What stands before every variable is none.
            if name != "VAR" && !variables.contains(&name) {
                variables.push(name);
            }
        }
        let first = format!("VAR {} = {value}", variables[0]);
        // RULER has a space behind these lines.
        let others = variables.windows(2).map(|pair| format!("VAR {} = VAR {} ", pair[1], pair[0]));
        let lines = std::iter::once(first).chain(others).collect();
        Self { value, variables, lines }
    }

    /// The prompt with the most noise that fits.
    fn hide(&self, room: &Room, streams: Streams, example: Option<&str>) -> Result<Prompt> {
        let mut noise = Supply::noise();
        let make = |pieces: usize| {
            let mut gaps = sample(&mut streams.places(), pieces, self.lines.len()).into_vec();
            gaps.sort_unstable();
            Ok(Prompt {
                example: example.map(str::to_owned),
                introduction:
                    "Memorize and track the chain(s) of variable assignment hidden in the following \
                               text.\n\n"
                        .to_owned(),
                context: weave(&noise.first(pieces), &self.lines, &gaps).join("\n"),
                question: self.question(),
            })
        };
        let least = self.lines.len();
        Ok(room.fill(least..=room.tokens.max(least), make)?.1)
    }

    fn question(&self) -> String {
        let (value, count) = (self.value, self.variables.len());
        format!(
            "Question: Find all variables that are assigned the value {value} in the text above. Answer: According to \
             the chain(s) of variable assignment in the text above, {count} variables are assigned the value {value}, \
             they are: "
        )
    }
}

/// One chain, behind a solved example with another value.
pub(super) fn make(job: &Job) -> Result<Made> {
    let chain = Chain::draw(LETTERS, &mut job.streams.facts());
    let example = example(job, chain.value)?;
    let prompt = chain.hide(&job.room, job.streams, Some(&example))?;
    let support = chain.lines.iter().map(|line| line.trim_end().to_owned()).collect();
    Ok(Made { prompt, answers: chain.variables, support })
}

/// A chain of a value that is not `value`, in short noise, with the answer.
fn example(job: &Job, value: u32) -> Result<String> {
    let streams = job.streams.of_example();
    let mut rng = streams.facts();
    let chain = loop {
        let chain = Chain::draw(EXAMPLE_LETTERS, &mut rng);
        if chain.value != value {
            break chain;
        }
    };
    let name = format!("{}, its example", job.room.name);
    let room = Room { name, tokenizer: job.room.tokenizer, tokens: EXAMPLE_TOKENS, answer_tokens: 0 };
    let prompt = chain.hide(&room, streams, None)?;
    Ok(format!("{} {}\n", prompt.text(), chain.variables.join(" ")))
}
