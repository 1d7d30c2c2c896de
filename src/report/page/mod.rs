//! Pages that are one file: text, tables and pictures with their style, no script, and nothing that is fetched.

mod parts;

pub(super) use parts::{Tag, details, facts, heat, list, paragraph, table};

use std::path::Path;

use crate::checkpoint::write_file;
use crate::error::{Error, Result, shown_lines};

/// Nothing but the page's own style is let in, whatever a text in it says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// A page in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    title: String,
    /// A link to each part.
    links: String,
    lead: String,
    body: String,
}

impl Page {
    /// An empty page under this title.
    pub(super) fn new(title: &str) -> Self {
        let [links, lead, body] = [(); 3].map(|()| String::new());
        Self { title: title.to_owned(), links, lead, body }
    }

    /// Adds a part under a heading; `id` is its name in links.
    pub(super) fn section(&mut self, id: &str, heading: &str, html: &str) {
        let heading = escape(heading);
        self.links += &format!("<a href=\"#{id}\">{heading}</a>\n");
        self.body += &format!("<section id=\"{id}\">\n<h2>{heading}</h2>\n{html}</section>\n");
    }

    /// Adds what stands before the first heading.
    pub(super) fn lead(&mut self, html: &str) {
        self.lead += html;
    }

    /// The whole document.
    pub fn html(&self) -> String {
        let Self { links, lead, body, .. } = self;
        let (title, style) = (escape(&self.title), include_str!("style.css"));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style>\n{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<nav>\n{links}</nav>\n{lead}{body}\
             <footer>perk {}</footer>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        )
    }

    /// Writes the page to `path`, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_file(path, |out| out.write_all(self.html().as_bytes()).map_err(|fault| Error::io(path, fault)))
    }
}

/// A text as it stands in HTML, in quotes too. What has no shape of its own, or would turn the direction of writing, is
/// written as an escape.
pub(super) fn escape(text: &str) -> String {
    let shown = shown_lines(text);
    let mut escaped = String::with_capacity(shown.len());
    for letter in shown.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_is_text_and_nothing_else() {
        let text = "</title><script>alert(\"1\")</script>&amp;\u{202e}\u{1b}";
        let mut page = Page::new(text);
        page.section("a", text, &paragraph(text));
        let html = page.html();
        assert!(
            !html.contains("<script") && !html.contains('\u{202e}') && !html.contains('\u{1b}'),
            "{html}"
        );
        let escaped = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp;\\u{202e}\\u{1b}";
        // In the title, twice; in the heading and the link to it; in the paragraph.
        assert_eq!(html.matches(escaped).count(), 5, "{html}");
    }

    #[test]
    fn a_page_names_nothing_outside_itself() {
        let html = Page::new("t").html();
        for outside in ["http:", "https:", "//", "src=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}: {html}");
        }
    }
}
