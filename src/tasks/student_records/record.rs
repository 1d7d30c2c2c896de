//! A student's record and its words.

use std::collections::HashSet;
use std::fmt;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// First names; some also serve as middle names.
pub(super) const FIRST: [&str; 32] = [
    "Alice", "Brian", "Carol", "David", "Emma", "Frank", "Grace", "Henry", "Irene", "Jacob", "Karen",
    "Louis", "Megan", "Nathan", "Olivia", "Peter", "Quinn", "Rachel", "Simon", "Tina", "Ursula", "Victor",
    "Wendy", "Xavier", "Yvonne", "Zachary", "Adam", "Bella", "Chloe", "Derek", "Elena", "Felix",
];
/// Last names.
pub(super) const LAST: [&str; 32] = [
    "Brown",
    "Clark",
    "Davis",
    "Evans",
    "Foster",
    "Garcia",
    "Harris",
    "Ingram",
    "Jones",
    "Kelly",
    "Lewis",
    "Miller",
    "Nelson",
    "Owens",
    "Parker",
    "Reed",
    "Smith",
    "Taylor",
    "Underwood",
    "Vargas",
    "Walker",
    "Young",
    "Adams",
    "Barnes",
    "Cooper",
    "Dixon",
    "Ellis",
    "Fisher",
    "Gordon",
    "Hughes",
    "Irwin",
    "Jensen",
];
const YEARS: [&str; 4] = ["freshman", "sophomore", "junior", "senior"];
const SCHOOLS: [&str; 5] = ["Engineering", "Medicine", "Law", "Arts", "Business"];
const MAJORS: [&str; 8] =
    ["Physics", "Chemistry", "Biology", "History", "Economics", "Geology", "Philosophy", "Statistics"];
/// Ids have four digits.
const IDS: std::ops::RangeInclusive<u32> = 1_000..=9_999;
/// Grades have two digits.
const GRADES: std::ops::RangeInclusive<u32> = 50..=99;
/// After so many names in vain, names with a middle name are drawn.
const PLAIN_TRIES: usize = 20;

/// Fields by which students form groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Year,
    School,
    Major,
}

impl Group {
    pub(super) const ALL: [Self; 3] = [Self::Year, Self::School, Self::Major];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::School => "school",
            Self::Major => "major",
        }
    }

    fn values(self) -> &'static [&'static str] {
        match self {
            Self::Year => &YEARS,
            Self::School => &SCHOOLS,
            Self::Major => &MAJORS,
        }
    }

    /// Any value.
    pub(super) fn draw(self, rng: &mut ChaCha8Rng) -> &'static str {
        self.values()[rng.random_range(0..self.values().len())]
    }
}

/// What is known of one student. It is written as one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: u32,
    pub(super) name: String,
    /// In the order of [`Group::ALL`].
    groups: [&'static str; 3],
    pub(super) grade: u32,
}

impl Record {
    pub(super) fn group(&self, group: Group) -> &'static str {
        self.groups[group as usize]
    }

    pub(super) fn set(&mut self, group: Group, value: &'static str) {
        self.groups[group as usize] = value;
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { id, name, grade, .. }, [year, school, major]) = (self, self.groups);
        write!(f, "Student {id}: name {name}, year {year}, school {school}, major {major}, grade {grade}.")
    }
}

/// Draws records whose ids and names are unique among all that it drew.
#[derive(Debug, Default)]
pub(super) struct Registry {
    ids: HashSet<u32>,
    names: HashSet<String>,
}

impl Registry {
    /// Most records that are drawn: somewhat fewer than there are ids, so that free ones are found quickly.
    pub(super) const MOST: usize = 8_000;

    pub(super) fn is_full(&self) -> bool {
        self.ids.len() >= Self::MOST
    }

    /// The next record. All its fields are independent of each other.
    pub(super) fn draw(&mut self, rng: &mut ChaCha8Rng) -> Record {
        let id = loop {
            let id = rng.random_range(IDS);
            if self.ids.insert(id) {
                break id;
            }
        };
        let name = self.name(rng);
        Record { id, name, groups: Group::ALL.map(|group| group.draw(rng)), grade: grade(rng) }
    }

    fn name(&mut self, rng: &mut ChaCha8Rng) -> String {
        for attempt in 0.. {
            let mut pick = |names: &[&'static str]| names[rng.random_range(0..names.len())];
            let (first, last) = (pick(&FIRST), pick(&LAST));
            let name = if attempt < PLAIN_TRIES {
                format!("{first} {last}")
            } else {
                format!("{first} {} {last}", pick(&FIRST))
            };
            if self.names.insert(name.clone()) {
                return name;
            }
        }
        unreachable!("there are more names than MOST")
    }
}

pub(super) fn grade(rng: &mut ChaCha8Rng) -> u32 {
    rng.random_range(GRADES)
}

/// Texts that hold every word of records but digits and marks.
pub(super) fn lexicon() -> impl Iterator<Item = String> {
    let lists: [&[&str]; 6] =
        [&["Student name year school major grade ,"], &FIRST, &LAST, &YEARS, &SCHOOLS, &MAJORS];
    lists.into_iter().map(|list| list.join(" "))
}
