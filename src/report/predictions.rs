//! Outputs by sample in the files of BABILong's own evaluation, so that its scripts read and score them.
//!
//! They lie at `RESULTS/MODEL/TASK_LENGTH_SETTINGS.csv`, as `scripts/run_model_on_babilong.py` of
//! github.com/booydar/babilong writes and `babilong/collect_results.py` reads them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    benchmarks::Length,
    checkpoint::write_file,
    error::{Error, Result},
};

/// What a model said to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// The right answer.
    pub target: String,
    /// What the model said.
    pub output: String,
    /// The question.
    pub question: String,
}

/// Which parts the prompt had; they stand in the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PromptSettings {
    /// The task's instruction.
    pub instruction: bool,
    /// Solved examples.
    pub examples: bool,
    /// The format of the answer, again.
    pub post_prompt: bool,
    /// The chat template of the model.
    pub chat_template: bool,
    /// A system prompt.
    pub system_prompt: bool,
}

/// Name of the file of a task at a length:
/// `qa1_4k_instruction_yes_examples_yes_post_prompt_yes_chat_template_yes_system_prompt_no.csv`.
///
/// # Errors
/// A task with `_` in its name, which ends there for those who read it.
pub fn predictions_file(task: &str, length: Length, settings: PromptSettings) -> Result<String> {
    if task.is_empty() || task.contains(['_', '/', '\\']) {
        return Err(Error::Invalid(format!("task `{task}` cannot stand in the name of BABILong's files")));
    }
    let settings = [
        ("instruction", settings.instruction),
        ("examples", settings.examples),
        ("post_prompt", settings.post_prompt),
        ("chat_template", settings.chat_template),
        ("system_prompt", settings.system_prompt),
    ];
    let settings = settings.map(|(name, is_on)| format!("{name}_{}", if is_on { "yes" } else { "no" }));
    Ok(format!("{task}_{length}_{}.csv", settings.join("_")))
}

/// Writes predictions as pandas writes them: a nameless first column counts them from 0.
///
/// # Errors
/// A file that cannot be written.
pub fn write_predictions(path: &Path, predictions: &[Prediction]) -> Result<()> {
    write_file(path, |out| {
        let mut lines = csv::Writer::from_writer(out);
        let mut attempt = || {
            lines.write_record(["", "target", "output", "question"])?;
            for (index, Prediction { target, output, question }) in predictions.iter().enumerate() {
                lines.write_record([&index.to_string(), target, output, question])?;
            }
            lines.flush().map_err(csv::Error::from)
        };
        attempt().map_err(|fault| Error::io(path, fault.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_as_babilongs_scripts_name_it() {
        let all = PromptSettings {
            instruction: true,
            examples: true,
            post_prompt: true,
            chat_template: true,
            system_prompt: false,
        };
        assert_eq!(
            predictions_file("qa1", Length::Tokens(4_000), all).unwrap(),
            "qa1_4k_instruction_yes_examples_yes_post_prompt_yes_chat_template_yes_system_prompt_no.csv"
        );
        assert_eq!(
            predictions_file("qa10", Length::Tokens(0), PromptSettings::default()).unwrap(),
            "qa10_0k_instruction_no_examples_no_post_prompt_no_chat_template_no_system_prompt_no.csv"
        );
        assert!(predictions_file("my_task", Length::Tokens(0), all).is_err());
        assert!(predictions_file("../qa1", Length::Tokens(0), all).is_err());
    }

    #[test]
    fn predictions_have_numbers_from_0_and_quotes_where_they_need_them() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("qa8.csv");
        let prediction = |target: &str, output: &str| Prediction {
            target: target.to_owned(),
            output: output.to_owned(),
            question: "What is Mary carrying? ".to_owned(),
        };
        let predictions = [prediction("apple,milk", "an \"apple\"\nand milk"), prediction("nothing", "")];
        write_predictions(&path, &predictions).unwrap();
        let expected = "\
,target,output,question
0,\"apple,milk\",\"an \"\"apple\"\"\nand milk\",What is Mary carrying?\u{20}
1,nothing,,What is Mary carrying?\u{20}
";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
}
