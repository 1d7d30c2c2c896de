//! Answers of a model: the facts that it recalled, and what it concluded.

use serde::Serialize;

/// An answer taken apart: `<support>FACTS</support><output>ANSWER</output>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The recalled facts, where the answer names any.
    pub support: Option<String>,
    /// The answer itself: what the tags hold, or the whole text without them.
    pub output: String,
}

impl Answer {
    /// Takes `text` apart. A closing tag that is missing, as in an answer that was cut short, ends at the
    /// next tag or at the end.
    pub fn parse(text: &str) -> Self {
        let support = tagged(text, "support");
        let rest = text.split_once("</support>").map_or(text, |(_, rest)| rest);
        let output = tagged(text, "output").unwrap_or_else(|| match support {
            Some(_) if !text.contains("</support>") => String::new(),
            _ => rest.trim().to_owned(),
        });
        Self { support, output }
    }
}

/// What stands between `<tag>` and `</tag>`, without white space around it.
fn tagged(text: &str, tag: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    let end = [format!("</{tag}>"), "<output>".to_owned()].iter().filter_map(|end| rest.find(end)).min();
    Some(rest[..end.unwrap_or(rest.len())].trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn support_and_output_are_found_by_their_tags_even_if_cut_short() {
        let parse = |text| {
            let Answer { support, output } = Answer::parse(text);
            (support.unwrap_or_else(|| "-".to_owned()), output)
        };
        for (text, support, output) in [
            (" kitchen\n", "-", "kitchen"),
            ("<support> A. B. </support>\n<output> kitchen </output> rest", "A. B.", "kitchen"),
            ("<output>kitchen", "-", "kitchen"),
            ("<support>A. <output>kitchen</output>", "A.", "kitchen"),
            ("<support>A.</support> kitchen", "A.", "kitchen"),
            ("<support>A. B", "A. B", ""),
        ] {
            assert_eq!(parse(text), (support.to_owned(), output.to_owned()), "{text}");
        }
    }
}
