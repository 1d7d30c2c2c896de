//! Where the keys of a TOML file stand.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

/// The line of every `block` and `block.key`, from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(HashMap<String, usize>);

impl Lines {
    /// Those of a text; of what is no TOML, as far as it can be read.
    pub fn of(text: &str) -> Self {
        let mut lines = Self::default();
        lines.add(text, "", DeTable::parse_recoverable(text).0.get_ref());
        lines
    }

    /// The line of a key; of one that stands in a table of a key, that of the deepest table that is there.
    pub fn get(&self, key: &str) -> Option<usize> {
        if let Some(line) = self.0.get(key) {
            return Some(*line);
        }
        // A missing key of a block has no line of its own, and the block's would mislead.
        let (table, _) = key.rsplit_once('.').filter(|(table, _)| table.contains('.'))?;
        self.get(table)
    }

    /// Forgets a key, whose value comes from elsewhere.
    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    fn add(&mut self, text: &str, above: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = if above.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{above}.{}", key.get_ref())
            };
            self.0.insert(name.clone(), line_at(text, key.span().start));
            if let DeValue::Table(inner) = value.get_ref() {
                self.add(text, &name, inner);
            }
        }
    }
}

/// The line of a place in a text, from 1.
pub fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_line_that_it_stands_on() {
        let text = "# a comment\n[lora]\nrank = 4\n\nalpha = [\n 1,\n]\n[inner]\nsteps = 2\ndata.target.form = 1\n[a.b]\nc = 1\n";
        let lines = Lines::of(text);
        for (key, line) in [
            ("lora", 2),
            ("lora.rank", 3),
            ("lora.alpha", 5),
            ("inner.steps", 9),
            ("inner.data.target.form", 10),
            ("inner.data.target.other", 10),
            ("a.b.c", 12),
        ] {
            assert_eq!(lines.get(key), Some(line), "{key}");
        }
        assert_eq!(lines.get("lora.layers"), None);
        assert_eq!(lines.get("model"), None);
    }

    #[test]
    fn a_key_that_comes_from_elsewhere_has_no_line() {
        let mut lines = Lines::of("[lora]\nrank = 4\n");
        lines.forget("lora.rank");
        assert_eq!((lines.get("lora.rank"), lines.get("lora")), (None, Some(1)));
    }

    #[test]
    fn what_can_be_read_of_broken_toml_has_its_lines() {
        assert_eq!(Lines::of("[lora]\nrank = 4\nalpha = \n").get("lora.rank"), Some(2));
    }
}
