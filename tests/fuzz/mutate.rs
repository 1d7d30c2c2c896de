//! Changes of a valid file: of its bytes, and of the keys and values that are written in it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::targets::Form;

/// Chooses one of many; which, follows from their number.
type Place = u64;

/// One change.
#[derive(Debug, Clone)]
pub enum Change {
    FlipBit(Place, u8),
    Truncate(Place),
    Delete(Place, u8),
    /// Bytes of one place, at another.
    Splice(Place, Place, u8),
    Insert(Place, Vec<u8>),
    /// Eight or four bytes of a number at the edge of its type.
    Number(Place, &'static [u8]),
    /// A key, or a value, of a text.
    Node(Place, Edit),
}

/// What happens to a key and its value.
#[derive(Debug, Clone, Copy)]
pub enum Edit {
    Remove,
    Duplicate,
    Rename(&'static str),
    /// The value becomes this, as it is written here.
    Replace(&'static str),
}

const NUMBERS: [&[u8]; 6] = [
    &[0xff; 8],
    &[0; 8],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0, 1, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
];

const NAMES: [&str; 6] = ["", "x", "../x", "odd\u{1b}[31m", "__proto__", "\u{202e}"];

const VALUES: [&str; 42] = [
    "0",
    "1",
    "2",
    "7",
    "-1",
    "-0",
    "0.5",
    "1e-400",
    "1e400",
    "-1e400",
    "1e308",
    "255",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "nan",
    "inf",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[null]",
    "[[0, 18446744073709551615]]",
    "\"\"",
    "\" \"",
    "\"../../../x\"",
    "\"/dev/null\"",
    "\"\\u0000\"",
    "\"\\u001b[31m\\u202e\"",
    "\"\\ud800\"",
    "\"{documents}{question}{answer}{support}\"",
    "DEEP",
];

/// Stand for what is no JSON value, until the text is written.
const RAW: &str = "@@raw@@";
const TWIN: &str = "@@twin@@";

/// Deeper than any reader may go.
const DEPTH: usize = 3_000;

pub fn change() -> impl Strategy<Value = Change> {
    let bytes = prop_oneof![
        (any::<u64>(), 0..8u8).prop_map(|(at, bit)| Change::FlipBit(at, bit)),
        any::<u64>().prop_map(Change::Truncate),
        (any::<u64>(), any::<u8>()).prop_map(|(at, count)| Change::Delete(at, count)),
        (any::<u64>(), any::<u64>(), any::<u8>()).prop_map(|(from, to, n)| Change::Splice(from, to, n)),
        (any::<u64>(), vec(any::<u8>(), 1..12)).prop_map(|(at, new)| Change::Insert(at, new)),
        (any::<u64>(), select(NUMBERS.to_vec())).prop_map(|(at, number)| Change::Number(at, number)),
    ];
    let edit = prop_oneof![
        1 => Just(Edit::Remove),
        1 => Just(Edit::Duplicate),
        1 => select(NAMES.to_vec()).prop_map(Edit::Rename),
        5 => select(VALUES.to_vec()).prop_map(Edit::Replace),
    ];
    let node = (any::<u64>(), edit).prop_map(|(at, edit)| Change::Node(at, edit));
    prop_oneof![2 => bytes, 3 => node]
}

impl Change {
    /// The changed file; as it was where the change has no place in it.
    pub fn apply(&self, form: Form, data: &[u8]) -> Vec<u8> {
        let mut new = data.to_vec();
        if data.is_empty() {
            return new;
        }
        let place = |at: &Place| pick(*at, data.len());
        let range = |at: &Place, count: u8| place(at)..(place(at) + usize::from(count)).min(data.len());
        match self {
            Self::FlipBit(at, bit) => new[place(at)] ^= 1 << bit,
            Self::Truncate(at) => new.truncate(place(at)),
            Self::Delete(at, count) => drop(new.drain(range(at, *count))),
            Self::Splice(from, to, count) => {
                let part = data[range(from, *count)].to_vec();
                new.splice(place(to)..place(to), part);
            }
            Self::Insert(at, bytes) => drop(new.splice(place(at)..place(at), bytes.iter().copied())),
            Self::Number(at, number) => {
                let end = (place(at) + number.len()).min(data.len());
                new[place(at)..end].copy_from_slice(&number[..end - place(at)]);
            }
            Self::Node(at, edit) => return edited(form, data, *at, *edit).unwrap_or(new),
        }
        new
    }
}

/// An index below `count`, or 0.
fn pick(at: Place, count: usize) -> usize {
    (at % count.max(1) as u64) as usize
}

fn edited(form: Form, data: &[u8], at: Place, edit: Edit) -> Option<Vec<u8>> {
    match form {
        Form::Json => json(std::str::from_utf8(data).ok()?, at, edit).map(String::into_bytes),
        Form::JsonLines => lines(std::str::from_utf8(data).ok()?, at, edit).map(String::into_bytes),
        Form::Toml => toml(std::str::from_utf8(data).ok()?, at, edit).map(String::into_bytes),
        Form::Safetensors => {
            let length = u64::from_le_bytes(data.get(..8)?.try_into().ok()?);
            let end = usize::try_from(length).ok()?.checked_add(8)?;
            let header = json(std::str::from_utf8(data.get(8..end)?).ok()?, at, edit)?;
            let length = (header.len() as u64).to_le_bytes();
            Some([length.as_slice(), header.as_bytes(), &data[end..]].concat())
        }
        Form::Parquet | Form::Bytes => None,
    }
}

fn lines(text: &str, at: Place, edit: Edit) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = pick(at, lines.len());
    let new = json(lines.get(line)?, at / lines.len() as u64, edit)?;
    lines[line] = new;
    Some(lines.join("\n") + "\n")
}

fn toml(text: &str, at: Place, edit: Edit) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let keys: Vec<usize> = (0..lines.len()).filter(|&line| lines[line].contains(" = ")).collect();
    let line = *keys.get(pick(at, keys.len()))?;
    let (key, value) = lines[line].split_once(" = ")?;
    let new = match edit {
        Edit::Remove => String::new(),
        Edit::Duplicate => format!("{}\n{0}", lines[line]),
        Edit::Rename(name) => format!("{name:?} = {value}"),
        Edit::Replace(raw) => format!("{key} = {}", written(raw)),
    };
    lines[line] = new;
    Some(lines.join("\n") + "\n")
}

fn json(text: &str, at: Place, edit: Edit) -> Option<String> {
    let mut root: Value = serde_json::from_str(text).ok()?;
    let mut places = Vec::new();
    find(&root, String::new(), &mut places);
    let place = places[pick(at, places.len())].clone();
    let mut twin = String::new();
    match edit {
        Edit::Replace(_) => *root.pointer_mut(&place)? = RAW.into(),
        Edit::Remove | Edit::Duplicate | Edit::Rename(_) => {
            let (parent, key) = place.rsplit_once('/')?;
            let key = key.replace("~1", "/").replace("~0", "~");
            match (root.pointer_mut(parent)?, edit) {
                (Value::Object(fields), Edit::Remove) => drop(fields.remove(&key)),
                (Value::Object(fields), Edit::Rename(name)) => {
                    let value = fields.remove(&key)?;
                    fields.insert(name.to_owned(), value);
                }
                (Value::Object(fields), _) => {
                    let value = fields.get(&key)?.clone();
                    fields.insert(TWIN.to_owned(), value);
                    twin = key;
                }
                (Value::Array(items), Edit::Remove) => drop(items.remove(key.parse().ok()?)),
                (Value::Array(items), _) => items.push(items.get(key.parse::<usize>().ok()?)?.clone()),
                _ => return None,
            }
        }
    }
    let mut text = root.to_string();
    if let Edit::Replace(raw) = edit {
        text = text.replace(&format!("\"{RAW}\""), &written(raw));
    }
    Some(text.replace(&format!("\"{TWIN}\""), &Value::from(twin).to_string()))
}

fn written(raw: &str) -> String {
    if raw == "DEEP" { "[".repeat(DEPTH) + &"]".repeat(DEPTH) } else { raw.to_owned() }
}

/// Pointers to every value, from the root down.
fn find(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                find(inner, format!("{place}/{key}"), places);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                find(inner, format!("{place}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(place);
}

#[test]
fn edits_of_json_leave_the_rest_as_it_is() {
    let text = r#"{"a":1,"b":[2]}"#;
    for (edit, expected) in [
        (Edit::Remove, r#"{"b":[2]}"#),
        (Edit::Duplicate, r#"{"a":1,"a":1,"b":[2]}"#),
        (Edit::Rename("c"), r#"{"b":[2],"c":1}"#),
        (Edit::Replace("1e400"), r#"{"a":1e400,"b":[2]}"#),
    ] {
        assert_eq!(json(text, 0, edit).unwrap(), expected);
    }
}
