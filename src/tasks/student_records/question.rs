//! Questions about records, each decided by them.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::record::{Group, Record, Registry, grade};
use crate::config::QuestionsAbout;

/// Students of a question to sort.
const SORTED: usize = 3;

/// A question. Students are indices into the records, which start with those that questions name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// `What is the major of Alice Brown?`; `None` is the grade.
    Recall { student: usize, by_id: bool, field: Option<Group> },
    /// `Do Alice Brown and Carol Reed have the same school?`
    Same { students: [usize; 2], group: Group },
    /// `Who has the higher grade, Alice Brown or Carol Reed?`
    Compare { students: [usize; 2], higher: bool },
    /// `What is the highest grade of students with major Physics?`
    Aggregate { what: Aggregate, group: Group, value: &'static str },
    /// `How many students have year junior and school Law?`
    Count { wanted: Vec<(Group, &'static str)> },
    /// `Sort Alice Brown, Carol Reed and Adam Young by grade, lowest first.`
    Sort { students: Vec<usize>, by_id: bool, lowest_first: bool },
}

/// What is asked of the grades of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Highest,
    Lowest,
    /// Rounded down, as the question says.
    Average,
}

/// Draws a question that is not among `before`, and adds the records that it is about.
pub(super) fn draw(
    about: QuestionsAbout,
    before: &[Question],
    registry: &mut Registry,
    records: &mut Vec<Record>,
    rng: &mut ChaCha8Rng,
) -> Question {
    let first = records.len();
    let mut add = |count: usize, rng: &mut ChaCha8Rng| {
        records.extend((0..count).map(|_| registry.draw(rng)));
    };
    match about {
        QuestionsAbout::Recall => {
            add(1, rng);
            let field = [None, Some(Group::Year), Some(Group::School), Some(Group::Major)];
            let (by_id, field) = (rng.random(), field[rng.random_range(0..field.len())]);
            Question::Recall { student: first, by_id, field }
        }
        QuestionsAbout::Relation => {
            add(2, rng);
            relation([first, first + 1], records, rng)
        }
        QuestionsAbout::Aggregate | QuestionsAbout::Count => {
            let question = loop {
                let question = if about == QuestionsAbout::Count { count(rng) } else { aggregate(rng) };
                if !before.contains(&question) {
                    break question;
                }
            };
            // At least these belong to the group.
            add(if about == QuestionsAbout::Count { rng.random_range(1..=2) } else { 2 }, rng);
            for (group, value) in question.wanted() {
                records[first..].iter_mut().for_each(|record| record.set(group, value));
            }
            question
        }
        QuestionsAbout::Sort => {
            add(SORTED, rng);
            let students: Vec<usize> = (first..first + SORTED).collect();
            distinct_grades(&students, records, rng);
            Question::Sort { students, by_id: rng.random(), lowest_first: rng.random() }
        }
    }
}

/// Whether two students share something (half of them do), or whose grade is higher or lower.
fn relation(students: [usize; 2], records: &mut [Record], rng: &mut ChaCha8Rng) -> Question {
    let [a, b] = students;
    if rng.random() {
        distinct_grades(&students, records, rng);
        return Question::Compare { students, higher: rng.random() };
    }
    let group = any_group(rng);
    let (same, value) = (rng.random(), records[a].group(group));
    if same {
        records[b].set(group, value);
    }
    while !same && records[b].group(group) == value {
        records[b].set(group, group.draw(rng));
    }
    Question::Same { students, group }
}

fn aggregate(rng: &mut ChaCha8Rng) -> Question {
    let what = [Aggregate::Highest, Aggregate::Lowest, Aggregate::Average][rng.random_range(0..3)];
    let group = any_group(rng);
    Question::Aggregate { what, group, value: group.draw(rng) }
}

/// One field in half of the questions, two fields in the others.
fn count(rng: &mut ChaCha8Rng) -> Question {
    let one = any_group(rng);
    let mut groups = vec![one];
    if rng.random() {
        // In the order of records.
        groups = Group::ALL.into_iter().filter(|&group| group != one).collect();
    }
    Question::Count { wanted: groups.into_iter().map(|group| (group, group.draw(rng))).collect() }
}

fn any_group(rng: &mut ChaCha8Rng) -> Group {
    Group::ALL[rng.random_range(0..Group::ALL.len())]
}

fn distinct_grades(students: &[usize], records: &mut [Record], rng: &mut ChaCha8Rng) {
    for (i, &student) in students.iter().enumerate() {
        while students[..i].iter().any(|&other| records[other].grade == records[student].grade) {
            records[student].grade = grade(rng);
        }
    }
}

impl Question {
    /// What members of the group have; nothing for questions about named students.
    fn wanted(&self) -> Vec<(Group, &'static str)> {
        match self {
            Self::Aggregate { group, value, .. } => vec![(*group, value)],
            Self::Count { wanted } => wanted.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether it is about all members of a group, not about named students.
    pub(super) fn is_about_a_group(&self) -> bool {
        matches!(self, Self::Aggregate { .. } | Self::Count { .. })
    }

    /// The records that decide the answer: those of the named students, in the order of the question, or of all
    /// members of the group.
    pub(super) fn support(&self, records: &[Record]) -> Vec<usize> {
        match self {
            Self::Recall { student, .. } => vec![*student],
            Self::Same { students, .. } | Self::Compare { students, .. } => students.to_vec(),
            Self::Sort { students, .. } => students.clone(),
            Self::Aggregate { .. } | Self::Count { .. } => {
                let wanted = self.wanted();
                let member = |record: &Record| wanted.iter().all(|&(g, value)| record.group(g) == value);
                (0..records.len()).filter(|&i| member(&records[i])).collect()
            }
        }
    }

    pub(super) fn text(&self, records: &[Record]) -> String {
        let name = |student: usize| records[student].name.as_str();
        match self {
            Self::Recall { student, by_id, field } => {
                let field = field.map_or("grade", Group::name);
                format!("What is the {field} of {}?", called(&records[*student], *by_id))
            }
            Self::Same { students: [a, b], group } => {
                format!("Do {} and {} have the same {}?", name(*a), name(*b), group.name())
            }
            Self::Compare { students: [a, b], higher } => {
                let degree = if *higher { "higher" } else { "lower" };
                format!("Who has the {degree} grade, {} or {}?", name(*a), name(*b))
            }
            Self::Aggregate { what, group, value } => {
                let (degree, rounded) = match what {
                    Aggregate::Highest => ("highest", ""),
                    Aggregate::Lowest => ("lowest", ""),
                    Aggregate::Average => ("average", ", rounded down"),
                };
                format!("What is the {degree} grade of students with {} {value}{rounded}?", group.name())
            }
            Self::Count { wanted } => {
                let wanted: Vec<String> = wanted.iter().map(|(g, v)| format!("{} {v}", g.name())).collect();
                format!("How many students have {}?", wanted.join(" and "))
            }
            Self::Sort { students, by_id, lowest_first } => {
                let names: Vec<String> = students.iter().map(|&s| called(&records[s], *by_id)).collect();
                let (last, others) = names.split_last().expect("a question to sort names students");
                let first = if *lowest_first { "lowest" } else { "highest" };
                format!("Sort {} and {last} by grade, {first} first.", others.join(", "))
            }
        }
    }

    pub(super) fn answer(&self, records: &[Record]) -> String {
        let grade = |student: usize| records[student].grade;
        match self {
            Self::Recall { student, field, .. } => {
                field.map_or(grade(*student).to_string(), |group| records[*student].group(group).to_owned())
            }
            Self::Same { students: [a, b], group } => {
                let same = records[*a].group(*group) == records[*b].group(*group);
                if same { "yes" } else { "no" }.to_owned()
            }
            Self::Compare { students: [a, b], higher } => {
                let student = if (grade(*a) > grade(*b)) == *higher { *a } else { *b };
                records[student].name.clone()
            }
            Self::Aggregate { what, .. } => {
                let grades: Vec<u32> = self.support(records).into_iter().map(grade).collect();
                let answer = match what {
                    Aggregate::Highest => grades.iter().copied().max(),
                    Aggregate::Lowest => grades.iter().copied().min(),
                    Aggregate::Average => grades.iter().sum::<u32>().checked_div(grades.len() as u32),
                };
                answer.expect("a group that is asked about has members").to_string()
            }
            Self::Count { .. } => self.support(records).len().to_string(),
            Self::Sort { students, by_id, lowest_first } => {
                let mut sorted = students.clone();
                sorted.sort_by_key(|&student| grade(student));
                if !lowest_first {
                    sorted.reverse();
                }
                sorted.into_iter().map(|s| called(&records[s], *by_id)).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// `Alice Brown`, or `Student 4271`.
fn called(record: &Record, by_id: bool) -> String {
    if by_id { format!("Student {}", record.id) } else { record.name.clone() }
}

/// A text that holds every word of questions and answers that records do not have.
pub(super) fn lexicon() -> String {
    "What is the of ? Do and have same yes no Who has higher lower or highest lowest average students with \
     rounded down How many Sort by first"
        .to_owned()
}
