//! The page of an inspection.

use std::fmt::Write;

use crate::report::page::{Page, Tag, details, escape, facts, heat, list, paragraph, table};
use crate::report::three_digits;

use super::{BeforeAfter, Inspection, Kind, Reading, SegmentReading, TokenReading};

/// Deepest colour of a token: its letters must still be read.
const DEEPEST: f64 = 0.8;
/// What the tokens can be coloured by: name of the choice in the page, and what it says.
const SHADES: [(&str, &str); 4] = [
    ("weight", "weight ω before the first step"),
    ("ending", "weight ω after the last"),
    ("before", "loss before"),
    ("after", "loss after"),
];

impl Inspection {
    /// The page, with so many tokens of the context at most: where it has more, the segments that count most are shown.
    pub fn page(&self, most_tokens: usize) -> Page {
        let what = match self.kind {
            Kind::Adapter => "adapter",
            Kind::Checkpoint => "checkpoint",
        };
        let mut page = Page::new(&format!("{what} {}", self.subject));
        page.lead(&self.notes.iter().map(|note| paragraph(note)).collect::<String>());
        if !self.missing.is_empty() {
            page.section("missing", "What is not shown", &self.missing_part());
        }
        page.section("facts", "Where it comes from", &self.facts_part());
        if let Some(part) = self.losses_part() {
            page.section("losses", "Losses over the inner steps", &part);
        }
        if let Some(reading) = &self.reading {
            let shown = reading.shown(most_tokens);
            page.section("context", "The context, token by token", &context_part(reading, &shown));
            page.section("heaviest", "The tokens that count most", &table(&self.heaviest_lines()));
            let heats = self.segment_heats(&shown);
            page.section(
                "segments",
                "Segments over the inner steps",
                &heats.iter().map(heat).collect::<String>(),
            );
        }
        if let Some(norms) = self.norm_heat() {
            page.section("norms", "The adapter by layer and projection", &heat(&norms));
        }
        let rates: String = self.rate_heats().iter().map(heat).collect();
        if !rates.is_empty() {
            page.section("rates", "Learning rates by layer, projection and step", &rates);
        }
        page
    }

    fn missing_part(&self) -> String {
        let item = |missing: &super::Missing| {
            let [what, reason, advice] =
                [&missing.what, &missing.reason, &missing.advice].map(|text| escape(text));
            format!("<strong>{what}</strong>: {reason}<br>→ {advice}")
        };
        let items: Vec<String> = self.missing.iter().map(item).collect();
        format!("<div class=\"missing\">{}</div>\n", list(&items))
    }

    fn facts_part(&self) -> String {
        let group = |group: &super::Facts| {
            let entries = group.entries.iter().map(|(name, value)| (*name, value.as_str()));
            Tag("div").around(&(Tag("h3").of(group.name) + &facts(entries)))
        };
        let groups: String = self.facts.iter().map(group).collect();
        let name = match self.kind {
            Kind::Adapter => "The whole record",
            Kind::Checkpoint => "The whole configuration",
        };
        format!("<div class=\"groups\">{groups}</div>\n{}", details(name, &self.settings))
    }

    fn losses_part(&self) -> Option<String> {
        let why = "The inner loop minimises the inner loss, in which every token counts as its weight ω says; the plain \
                   loss, in which all count alike, may rise.";
        Some(table(&self.losses_lines()?) + &paragraph(why))
    }
}

/// The text, with a colour and a hint for each token.
fn context_part(reading: &Reading, shown: &[usize]) -> String {
    let (most_weight, most_loss) = reading.most();
    let mut html = paragraph(&format!(
        "The deeper a token's colour, the larger the number; the deepest are ω = {} and a loss of {} nats. Rest the \
         pointer on a token for its numbers before and after the inner loop.",
        three_digits(most_weight),
        three_digits(most_loss)
    ));
    if shown.len() < reading.segments.len() {
        let (part, all) = (shown.len(), reading.segments.len());
        html += &paragraph(&format!(
            "Of {all} segments, the {part} that count most are shown (--all shows all)."
        ));
    }
    html += "<div>\n";
    for (index, (id, name)) in SHADES.iter().enumerate() {
        let checked = if index == 0 { " checked" } else { "" };
        let name = escape(name);
        // Writing to a string does not fail.
        let _ = writeln!(
            html,
            "<input type=\"radio\" name=\"shade\" id=\"{id}\"{checked}><label for=\"{id}\"> {name} </label>"
        );
    }
    let weight: f64 = reading.segments.iter().map(SegmentReading::weight).sum();
    for &index in shown {
        html += &segment_part(index, &reading.segments[index], weight, (most_weight, most_loss));
    }
    html + "</div>\n"
}

fn segment_part(index: usize, segment: &SegmentReading, weight: f64, most: (f64, f64)) -> String {
    let share = if weight > 0.0 { 100.0 * segment.weight() / weight } else { 0.0 };
    let losses = match segment.losses.as_slice() {
        [first, .., last] => {
            format!(" · loss {} → {}", three_digits(first.cross_entropy), three_digits(last.cross_entropy))
        }
        _ => String::new(),
    };
    let head =
        format!("segment {index} · tokens: {} · {share:.1}% of all weight{losses}", segment.tokens.len());
    let tokens: String = segment.tokens.iter().map(|token| token_part(token, most)).collect();
    format!(
        "<div class=\"segment\"><div class=\"head\">{}</div><p class=\"text\"><span class=\"prefix\">{}</span>{tokens}</p></div>\n",
        escape(&head),
        escape(&segment.prefix)
    )
}

fn token_part(token: &TokenReading, (most_weight, most_loss): (f64, f64)) -> String {
    let mut style = String::new();
    let mut shade = |name: char, number: f64, most: f64| {
        let depth = if most > 0.0 { DEEPEST * number / most } else { 0.0 };
        if depth >= 0.005 {
            let _ = write!(style, "--{name}:{depth:.2};");
        }
    };
    shade('w', token.weight.before, most_weight);
    shade('v', token.weight.after, most_weight);
    shade('b', token.loss.before, most_loss);
    shade('a', token.loss.after, most_loss);
    // A line break has no shape, nor has a part of a character.
    let text = match token.text.as_str() {
        "" => "·".to_owned(),
        text => escape(&text.replace('\n', "↵\n")),
    };
    format!("<span class=\"t\" style=\"{style}\" title=\"{}\">{text}</span>", escape(&said(token)))
}

/// `ω 3.2 → 2.9, loss 4.12 → 0.03 nats`
fn said(token: &TokenReading) -> String {
    let pair = |BeforeAfter { before, after }| format!("{} → {}", three_digits(before), three_digits(after));
    format!("ω {}, loss {} nats", pair(token.weight), pair(token.loss))
}
