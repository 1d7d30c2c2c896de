//! What pages are made of: paragraphs, lists, tables, and tables with colours.

use crate::report::heat::Heat;
use crate::report::three_digits;

use super::escape;

/// An element around HTML.
#[derive(Debug, Clone, Copy)]
pub(in crate::report) struct Tag(pub(in crate::report) &'static str);

impl Tag {
    /// The element around `html`, which is HTML already.
    pub(in crate::report) fn around(self, html: &str) -> String {
        let name = self.0;
        format!("<{name}>{html}</{name}>\n")
    }

    /// The element around a text.
    pub(in crate::report) fn of(self, text: &str) -> String {
        self.around(&escape(text))
    }
}

/// A paragraph of text.
pub(in crate::report) fn paragraph(text: &str) -> String {
    Tag("p").of(text)
}

/// A list of texts, each of which is HTML already.
pub(in crate::report) fn list(items: &[String]) -> String {
    Tag("ul").around(&items.iter().map(|item| Tag("li").around(item)).collect::<String>())
}

/// Names and values, a line each.
pub(in crate::report) fn facts<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let line = |(name, value)| Tag("tr").around(&(Tag("th").of(name) + &Tag("td").of(value)));
    format!("<table class=\"facts\">\n{}</table>\n", entries.into_iter().map(line).collect::<String>())
}

/// A table whose first line is its head.
pub(in crate::report) fn table(lines: &[Vec<String>]) -> String {
    let line = |(index, cells): (usize, &Vec<String>)| {
        let tag = Tag(if index == 0 { "th" } else { "td" });
        Tag("tr").around(&cells.iter().map(|cell| tag.of(cell)).collect::<String>())
    };
    let lines: String = lines.iter().enumerate().map(line).collect();
    format!("<div class=\"wide\"><table>\n{lines}</table></div>\n")
}

/// A long text that is folded away under its name.
pub(in crate::report) fn details(name: &str, text: &str) -> String {
    format!("<details><summary>{}</summary><pre>{}</pre></details>\n", escape(name), escape(text))
}

/// A table with colours; a cell says in full what it is where the pointer rests on it.
pub(in crate::report) fn heat(heat: &Heat) -> String {
    let columns: String = heat.columns.iter().map(|name| Tag("th").of(name)).collect();
    let mut lines = Tag("tr").around(&(Tag("th").of(&heat.corner) + &columns));
    for (name, cells) in heat.lines.iter().zip(&heat.cells) {
        let cells = heat.columns.iter().zip(cells).map(|(column, cell)| match cell {
            Some(number) => cell_of(heat, name, column, *number),
            None => "<td></td>".to_owned(),
        });
        lines += &Tag("tr").around(&(Tag("th").of(name) + &cells.collect::<String>()));
    }
    let title = Tag("figcaption").of(&heat.title);
    format!("<figure>{title}<div class=\"wide\"><table class=\"heat\">\n{lines}</table></div></figure>\n")
}

fn cell_of(heat: &Heat, line: &str, column: &str, number: f64) -> String {
    let said = escape(&format!("{} {line}, {column}: {number}", heat.corner));
    format!(
        "<td style=\"--d:{:.2}\" title=\"{said}\">{}</td>",
        heat.depth(number),
        escape(&three_digits(number))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::heat::Scale;

    #[test]
    fn a_cell_is_as_deep_as_its_number_is_large_and_says_what_it_is() {
        let heat = Heat {
            title: "Rates <of>".to_owned(),
            corner: "layer".to_owned(),
            columns: vec!["q A".to_owned(), "q B".to_owned()],
            lines: vec!["0".to_owned()],
            cells: vec![vec![Some(0.012_345), None]],
            scale: Scale::FromZero,
            range: (0.0, 0.024_69),
        };
        let html = super::heat(&heat);
        assert!(html.contains("<figcaption>Rates &lt;of&gt;</figcaption>"), "{html}");
        let cell = "<td style=\"--d:0.50\" title=\"layer 0, q A: 0.012345\">0.012</td><td></td>";
        assert!(html.contains(cell), "{html}");
    }
}
