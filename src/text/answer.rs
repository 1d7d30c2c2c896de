//! How a reasoned answer is written down, and what a model's output holds of it: the facts that it recalled, and
//! what it concluded.

use super::sentences;

const SUPPORT: &str = "{support}";
const ANSWER: &str = "{answer}";

/// The form of an answer with its supporting facts: a template with `{support}` and, behind a mark, `{answer}`.
///
/// The authors' is [`AnswerForm::TAGS`]. White space in its marks does not count when outputs are read, for
/// word-level tokenizers do not give it back as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerForm {
    before: String,
    between: String,
    after: String,
}

/// A model's output, taken apart by an [`AnswerForm`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was concluded: what stands at the answer's place, or the whole output where it has no marks.
    pub answer: String,
    /// The recalled facts, where the output names any.
    pub support: Option<String>,
    /// Whether every mark of the form stands there, in order.
    pub is_whole: bool,
}

/// Where the parts of an output lie, in bytes.
#[derive(Debug, Clone, Copy)]
struct Parts {
    support: Option<(usize, usize)>,
    answer: (usize, usize),
    /// Whether the last mark before the answer is there.
    is_led: bool,
    is_whole: bool,
    is_closed: bool,
}

impl AnswerForm {
    /// The authors' form: facts and answer in tags of their own, on a line each.
    pub const TAGS: &str = "<support>{support}</support>\n<output>{answer}</output>";

    /// Takes a template apart. It holds `{support}`, then something that marks where the answer starts, then
    /// `{answer}`.
    ///
    /// # Errors
    /// What is wrong with the template, in words.
    pub fn parse_template(template: &str) -> Result<Self, String> {
        let order = format!("must hold {SUPPORT}, and behind it {ANSWER}");
        let (before, rest) = template.split_once(SUPPORT).ok_or(order.as_str())?;
        let (between, after) = rest.split_once(ANSWER).ok_or(order)?;
        if [before, between, after].iter().any(|part| part.contains(['{', '}'])) {
            return Err(format!("may hold no braces but {SUPPORT} and {ANSWER}, once each"));
        }
        if between.trim().is_empty() {
            let reason = "must have something between {support} and {answer} that tells them apart";
            return Err(format!("{reason}, as ` Answer: ` does"));
        }
        let [before, between, after] = [before, between, after].map(str::to_owned);
        Ok(Self { before, between, after })
    }

    /// The text up to the answer, and the answer with what follows it. White space before the answer goes with
    /// it, as tokenizers join a space to the word after it.
    pub fn write(&self, support: &str, answer: &str) -> (String, String) {
        let mark = self.between.trim_end();
        let gap = &self.between[mark.len()..];
        (format!("{}{support}{mark}", self.before), format!("{gap}{answer}{}", self.after))
    }

    /// Takes an output apart. A mark that is missing, as in an output that was cut short, ends the part before
    /// it at the next mark or at the end; an output with no mark at all is an answer without facts, but for a
    /// form that begins with the facts: there it is facts that lead to no answer.
    pub fn parse(&self, text: &str) -> Answer {
        let parts = self.parts(text);
        let cut = |(start, end): (usize, usize)| text[start..end].trim().to_owned();
        Answer { answer: cut(parts.answer), support: parts.support.map(cut), is_whole: parts.is_whole }
    }

    /// Whether the output has come to the form's last mark, after which nothing counts; never where the form
    /// ends in the answer.
    pub fn is_closed(&self, text: &str) -> bool {
        self.parts(text).is_closed
    }

    /// What of the answer can be shown of an output that is still growing: not the facts, nor what may become a mark.
    /// While the output keeps to the form, or has no mark at all, it begins with what it was for a shorter output.
    pub fn shown<'t>(&self, text: &'t str) -> &'t str {
        let parts = self.parts(text);
        let opening = marks(&self.before);
        let may_open = opening.first().is_some_and(|mark| begins(mark, text.trim_start()));
        if !parts.is_led && (may_open || parts.support.is_some()) {
            return "";
        }
        let shown = text[parts.answer.0..parts.answer.1].trim();
        marks(&self.after).first().map_or(shown, |mark| before_half_a_mark(shown, mark))
    }

    fn parts(&self, text: &str) -> Parts {
        let (opening, middle, closing) = (marks(&self.before), marks(&self.between), marks(&self.after));
        let opened = pass(text, 0, &opening);
        let start = opened.at;
        // The marks between may lack some; the answer starts behind the last that is there.
        let passed = pass(text, start, &middle);
        let facts_end = passed.first.unwrap_or(text.len());
        let has_facts = opening.is_empty() || opened.found > 0;
        let answer_start = match (passed.found > 0, has_facts) {
            (true, _) => passed.at,
            (false, true) => text.len(),
            (false, false) => 0,
        };
        let closed = pass(text, answer_start, &closing);
        let is_whole = [&opened, &passed, &closed].iter().all(|pass| pass.is_complete);
        Parts {
            support: has_facts.then_some((start, facts_end)),
            answer: (answer_start, closed.first.unwrap_or(text.len())),
            is_led: passed.has_last,
            is_whole,
            is_closed: is_whole && !closing.is_empty(),
        }
    }
}

impl Answer {
    /// The recalled facts one by one, told apart by `separator`, or as sentences where that is white space; `None`
    /// where the output names none.
    pub fn facts(&self, separator: &str) -> Option<Vec<String>> {
        let facts = split_facts(self.support.as_deref()?, separator);
        Some(facts.into_iter().map(str::to_owned).collect())
    }
}

/// Facts that were joined by `separator`, without white space around them: its places are found whatever white
/// space a tokenizer puts into it; facts joined by line breaks are lines, those joined by spaces sentences.
pub fn split_facts<'t>(text: &'t str, separator: &str) -> Vec<&'t str> {
    let parts: Vec<&str> = match separator.trim() {
        "" if separator.contains('\n') => text.lines().collect(),
        "" => sentences::split(text),
        mark => parted(text, mark),
    };
    parts.into_iter().map(str::trim).filter(|fact| !fact.is_empty()).collect()
}

/// What stands between the places of `mark`, white space in it apart.
fn parted<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    let (mut parts, mut from) = (Vec::new(), 0);
    while let Some((start, end)) = find(text, from, mark) {
        parts.push(&text[from..start]);
        from = end;
    }
    parts.push(&text[from..]);
    parts
}

impl Default for AnswerForm {
    fn default() -> Self {
        Self::parse_template(Self::TAGS).expect("the authors' form is a form")
    }
}

/// How far some marks were found, one after another.
struct Passed {
    /// Behind the last that is there; where it began to look, if there is none.
    at: usize,
    /// Where the first that is there starts.
    first: Option<usize>,
    found: usize,
    has_last: bool,
    is_complete: bool,
}

fn pass(text: &str, from: usize, marks: &[&str]) -> Passed {
    let mut passed = Passed { at: from, first: None, found: 0, has_last: false, is_complete: false };
    for mark in marks {
        let place = find(text, passed.at, mark);
        passed.has_last = place.is_some();
        if let Some((start, end)) = place {
            passed.first.get_or_insert(start);
            passed.at = end;
            passed.found += 1;
        }
    }
    passed.is_complete = passed.found == marks.len();
    passed
}

/// The marks of a template's part: each tag is one, and so is each text between tags.
fn marks(part: &str) -> Vec<&str> {
    let (mut marks, mut rest) = (Vec::new(), part.trim());
    while !rest.is_empty() {
        let end = match rest.strip_prefix('<') {
            Some(inside) => inside.find('>').map(|at| at + 2),
            None => rest.find('<'),
        };
        let (mark, others) = rest.split_at(end.unwrap_or(rest.len()));
        marks.push(mark.trim());
        rest = others.trim_start();
    }
    marks
}

/// Start and end of the first place at or behind `from` where `mark` stands, white space apart.
fn find(text: &str, from: usize, mark: &str) -> Option<(usize, usize)> {
    let starts = text[from..].char_indices().filter(|(_, c)| !c.is_whitespace()).map(|(at, _)| from + at);
    starts.into_iter().find_map(|start| Some((start, start + matched(mark, &text[start..])?)))
}

/// Bytes of the beginning of `text` that are `mark`, white space apart.
fn matched(mark: &str, text: &str) -> Option<usize> {
    let mut rest = text;
    for wanted in mark.chars().filter(|c| !c.is_whitespace()) {
        rest = rest.trim_start().strip_prefix(wanted)?;
    }
    Some(text.len() - rest.len())
}

/// Whether `text` is the beginning of `mark`, or nothing yet, white space apart.
fn begins(mark: &str, text: &str) -> bool {
    let mut mark = mark.chars().filter(|c| !c.is_whitespace());
    text.chars().filter(|c| !c.is_whitespace()).all(|c| mark.next() == Some(c))
}

/// `text` without an end that may become `mark`, and without white space before that.
fn before_half_a_mark<'t>(text: &'t str, mark: &str) -> &'t str {
    let starts = text.char_indices().map(|(at, _)| at);
    let half = starts.into_iter().find(|&at| begins(mark, &text[at..]));
    text[..half.unwrap_or(text.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(form: &AnswerForm, text: &str) -> (String, String, bool) {
        let Answer { answer, support, is_whole } = form.parse(text);
        (support.unwrap_or_else(|| "-".to_owned()), answer, is_whole)
    }

    fn plain() -> AnswerForm {
        AnswerForm::parse_template("{support} Answer: {answer}").unwrap()
    }

    #[test]
    fn support_and_answer_are_found_by_their_tags_even_if_cut_short() {
        let form = AnswerForm::default();
        for (text, support, answer, is_whole) in [
            (" kitchen\n", "-", "kitchen", false),
            ("<support> A. B. </support>\n<output> kitchen </output> rest", "A. B.", "kitchen", true),
            ("<output>kitchen", "-", "kitchen", false),
            ("<support>A. <output>kitchen</output>", "A.", "kitchen", false),
            ("<support>A.</support> kitchen", "A.", "kitchen", false),
            ("<support>A.</support> kitchen</output>", "A.", "kitchen", false),
            ("<support>A. B", "A. B", "", false),
            ("", "-", "", false),
        ] {
            assert_eq!(parse(&form, text), (support.to_owned(), answer.to_owned(), is_whole), "{text}");
        }
    }

    #[test]
    fn a_form_without_tags_is_told_apart_by_what_stands_between() {
        for (text, support, answer, is_whole) in [
            ("A. B. Answer: kitchen", "A. B.", "kitchen", true),
            ("Mary Event 2 : A. Answer : the hall way", "Mary Event 2 : A.", "the hall way", true),
            ("Mary went to the kitchen.", "Mary went to the kitchen.", "", false),
            ("Answer: kitchen", "", "kitchen", true),
        ] {
            assert_eq!(parse(&plain(), text), (support.to_owned(), answer.to_owned(), is_whole), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for form in [AnswerForm::default(), plain()] {
            let (trace, conclusion) = form.write("A. B.", "the kitchen");
            let text = trace + &conclusion;
            assert_eq!(parse(&form, &text), ("A. B.".to_owned(), "the kitchen".to_owned(), true), "{text}");
        }
        let (trace, conclusion) = AnswerForm::default().write("A.", "b");
        assert_eq!((trace.as_str(), conclusion.as_str()), ("<support>A.</support>\n<output>", "b</output>"));
        assert_eq!(plain().write("A.", "b"), ("A. Answer:".to_owned(), " b".to_owned()));
    }

    #[test]
    fn an_output_is_closed_by_the_last_mark_alone() {
        let text = "<support>A.</support>\n<output>kitchen</output>";
        let form = AnswerForm::default();
        let closed: Vec<usize> = (0..=text.len()).filter(|&end| form.is_closed(&text[..end])).collect();
        assert_eq!(closed, [text.len()]);
        assert!(!plain().is_closed("A. Answer: kitchen"));
    }

    #[test]
    fn of_an_output_that_grows_only_the_answer_is_shown_and_nothing_is_taken_back() {
        for (form, text, expected) in [
            (AnswerForm::default(), "<support>A <b> c.</support>\n<output>a < b</output> more", "a < b"),
            (AnswerForm::default(), " the kitchen", "the kitchen"),
            (AnswerForm::default(), "<b> is it", "<b> is it"),
            (plain(), "A. Answer : the kitchen", "the kitchen"),
            (plain(), "A. B.", ""),
        ] {
            let mut last = "";
            for end in 0..=text.len() {
                let shown = form.shown(&text[..end]);
                assert!(shown.starts_with(last), "{text}: `{last}`, then `{shown}`");
                last = shown;
            }
            assert_eq!(last, expected, "{text}");
        }
    }

    #[test]
    fn marks_in_an_unusual_place_take_back_what_was_shown_but_never_cut_a_character() {
        let form = AnswerForm::default();
        for text in [
            "é: <output>é</output>",
            "no <support>A. é</support>\n<output>b</output>",
            "<support>A<output>B</support>",
        ] {
            for (end, _) in text.char_indices() {
                assert!(text.contains(form.shown(&text[..end])), "{text}");
            }
        }
    }

    #[test]
    fn facts_are_parted_as_they_were_joined() {
        assert_eq!(split_facts("A b. C d.", " "), ["A b.", "C d."]);
        assert_eq!(split_facts("A b\nC. d\n", "\n"), ["A b", "C. d"]);
        assert_eq!(split_facts("A. b - > C", " -> "), ["A. b", "C"]);
    }

    #[test]
    fn templates_that_cannot_be_read_again_are_refused() {
        for (bad, reason) in [
            ("", "{support}"),
            ("{answer}", "{support}"),
            ("{answer} because {support}", "behind it"),
            ("{support} {answer}", "between"),
            ("{support}: {answer} {answer}", "once each"),
            ("{facts} {support}: {answer}", "once each"),
        ] {
            let message = AnswerForm::parse_template(bad).unwrap_err();
            assert!(message.contains(reason), "{bad}: {message}");
        }
    }
}
