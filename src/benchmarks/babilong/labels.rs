//! The answers that BABILong's questions have, by task (Kuratov et al. 2024, arXiv 2406.10149).

use crate::{Error, Result};

const ROOMS: &[&str] = &["bathroom", "bedroom", "garden", "hallway", "kitchen", "office"];
const YES_NO: &[&str] = &["no", "yes"];

/// The answers that the questions of a task have, in lower case.
///
/// # Errors
/// A task other than qa1 to qa20.
pub fn babilong_labels(task: &str) -> Result<&'static [&'static str]> {
    Ok(match task {
        "qa1" | "qa2" | "qa3" | "qa4" | "qa11" | "qa12" | "qa13" => ROOMS,
        "qa5" => &["bill", "fred", "jeff", "mary", "apple", "football", "milk"],
        "qa6" | "qa9" | "qa17" | "qa18" => YES_NO,
        "qa7" => &["none", "one", "two", "three"],
        "qa8" => &["apple", "football", "milk", "nothing"],
        "qa10" => &["maybe", "no", "yes"],
        "qa14" => &["bedroom", "cinema", "kitchen", "office", "park", "school"],
        "qa15" => &["cat", "mouse", "sheep", "wolf"],
        "qa16" => &["gray", "green", "white", "yellow"],
        // Two steps on the map; two that lead back are no route.
        "qa19" => &["e,e", "e,n", "e,s", "n,e", "n,n", "n,w", "s,e", "s,s", "s,w", "w,n", "w,s", "w,w"],
        "qa20" => &["bedroom", "bored", "garden", "hungry", "kitchen", "thirsty", "tired"],
        _ => return Err(Error::Invalid(format!("BABILong has no task `{task}`: it has qa1 to qa20"))),
    })
}

/// A target as it is compared: without white space around it or its items.
///
/// # Errors
/// What is wrong with one that is no answer of the task, which would never be right.
pub(super) fn gold(task: &str, target: &str) -> std::result::Result<String, String> {
    let labels = babilong_labels(task).map_err(|fault| fault.to_string())?;
    let is_label = |text: &str| labels.contains(&text.to_lowercase().as_str());
    let target = target.trim();
    if is_label(target) {
        return Ok(target.to_owned());
    }
    // Of lists (qa8), each item is a label; a route (qa19) is a label as a whole.
    let items: Vec<&str> = target.split(',').map(str::trim).collect();
    if items.len() > 1 && items.iter().all(|item| is_label(item)) {
        return Ok(items.join(","));
    }
    Err(format!("`{target}` is no answer of {task}, whose answers are {}", labels.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_labels_and_no_other_name_has() {
        for task in 1..=20 {
            let labels = babilong_labels(&format!("qa{task}")).unwrap();
            assert!(labels.iter().all(|label| *label == label.to_lowercase()));
        }
        for task in ["qa0", "qa21", "QA1", "recall", ""] {
            let message = babilong_labels(task).unwrap_err().to_string();
            assert!(message.contains("qa1 to qa20"), "{message}");
        }
    }

    #[test]
    fn a_target_is_trimmed_and_one_that_is_no_answer_is_refused() {
        for (task, target, expected) in [
            ("qa1", " kitchen\n", "kitchen"),
            ("qa5", "Bill", "Bill"),
            ("qa8", "apple, milk ", "apple,milk"),
            ("qa8", "nothing", "nothing"),
            ("qa19", "n,w\r\n", "n,w"),
        ] {
            assert_eq!(gold(task, target).unwrap(), expected);
        }
        for (task, target) in
            [("qa1", "hall"), ("qa1", "<unk>"), ("qa8", "apple,"), ("qa19", "n,s"), ("qa6", "")]
        {
            let message = gold(task, target).unwrap_err();
            assert!(message.contains(&format!("`{target}` is no answer of {task}")), "{message}");
        }
        assert!(gold("qa21", "yes").unwrap_err().contains("qa1 to qa20"));
    }
}
