//! BABILong's own decision whether an output is right (Kuratov et al. 2024, arXiv 2406.10149): of the task's
//! labels, the output's first sentence must name the target and no other.

use std::collections::BTreeSet;

use crate::Result;
use crate::benchmarks::babilong_labels;

/// BABILong's decision on one output.
///
/// The output counts up to its first full stop, or to where it begins an example of its own. A label is named
/// where it occurs, in the middle of a word too (`nothing` names `no`). Labels that the question names do not
/// count. A target with commas (qa8) is right if the output names each of its items and nothing else; qa19's
/// targets (`n,w`) are labels themselves.
///
/// # Errors
/// A task other than qa1 to qa20.
pub fn babilong_is_right(task: &str, question: &str, target: &str, output: &str) -> Result<bool> {
    let labels = babilong_labels(task)?;
    let (question, target, output) = (question.to_lowercase(), target.to_lowercase(), output.to_lowercase());
    let sentence = first_sentence(&output);
    let named: BTreeSet<&str> = labels
        .iter()
        .copied()
        .filter(|label| sentence.contains(label) && !question.contains(label))
        .collect();
    let is_list = target.contains(',') && target.chars().count() > 3;
    let items: Vec<&str> = if is_list { target.split(',').collect() } else { vec![&target] };
    Ok(items.len() == named.len() && items.iter().all(|item| named.contains(item)))
}

/// What comes before the first full stop and the first example; `output` is in lower case.
fn first_sentence(output: &str) -> &str {
    let ends = [".", "<context>", "<example>"].iter().filter_map(|end| output.find(end));
    &output[..ends.min().unwrap_or(output.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_right(task: &str, question: &str, target: &str, output: &str) -> bool {
        babilong_is_right(task, question, target, output).unwrap()
    }

    #[test]
    fn the_target_must_be_the_only_label_of_the_first_sentence() {
        let asked = |output| is_right("qa1", "Where is Mary?", "kitchen", output);
        assert!(asked("Kitchen"));
        assert!(asked("The most recent location of Mary is KITCHEN. Before, she was in the garden."));
        assert!(asked("kitchen\n<context>\nJohn went to the garden."));
        assert!(asked("kitchen <EXAMPLE> garden"));
        assert!(asked("the kitchens, kitchen"));
        assert!(!asked("kitchen or garden"));
        assert!(!asked("kitchen\nQuestion: where is John? Answer: garden"), "only a full stop ends it");
        assert!(!asked("Mr. Hall is in the kitchen"), "the full stop of `Mr.` ends it");
        assert!(!asked("garden"));
        assert!(!asked(""));
        assert!(!asked("<context> kitchen"));
    }

    #[test]
    fn labels_of_the_question_do_not_count() {
        let question = "Where was the apple before the Kitchen?";
        assert!(is_right("qa3", question, "garden", "before the kitchen it was in the garden"));
        assert!(!is_right("qa3", question, "garden", "in the kitchen"));
        assert!(!is_right("qa3", question, "kitchen", "kitchen"), "such a target is never right");
        let question = "Who gave the football to Jeff?";
        assert!(is_right("qa5", question, "Bill", "Bill gave the football to Jeff."));
        assert!(!is_right("qa5", question, "Bill", "Bill gave the milk to Jeff."));
    }

    #[test]
    fn labels_are_found_within_words() {
        assert!(!is_right("qa6", "Is Mary here?", "yes", "yes, I know"), "`know` names `no`");
        assert!(is_right("qa9", "Is Mary here?", "no", "nothing of the kind"));
        assert!(!is_right("qa6", "Is John in the north?", "no", "no"), "the question's `north` names `no`");
        assert!(!is_right("qa7", "How many?", "none", "none"), "`none` names `one` as well");
        assert!(is_right("qa7", "How many?", "one", "one"));
        assert!(is_right("qa10", "Is Bill in the park?", "maybe", "Maybe"));
    }

    #[test]
    fn a_list_is_right_with_all_its_items_in_any_order_and_no_other() {
        let asked = |target, output| is_right("qa8", "What is Mary carrying?", target, output);
        assert!(asked("apple,milk", "milk and the Apple"));
        assert!(asked("apple,football,milk", "apple,milk,football"));
        assert!(!asked("apple,milk", "apple"));
        assert!(!asked("apple,milk", "apple, milk, football"));
        assert!(!asked("apple", "apple, milk"));
        assert!(asked("nothing", "nothing"));
        assert!(!asked("apple, milk", "apple, milk"), "a space in the target is part of its item");
        assert!(!asked("apple,apple", "apple"), "an item counts each time");
    }

    #[test]
    fn a_route_is_one_label() {
        let asked = |output| is_right("qa19", "How do you go from the park to the office?", "n,w", output);
        assert!(asked("N,W"));
        assert!(!asked("n, w"));
        assert!(!asked("n,w,s"), "names `w,s` too");
        assert!(!asked("n,w or w,n"));
    }
}
