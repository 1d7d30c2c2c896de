//! Reads student records and questions about them, and answers: written without a look at the generator.

/// A record, by its words.
pub struct Student {
    pub id: String,
    pub name: String,
    pub year: String,
    pub school: String,
    pub major: String,
    pub grade: u32,
}

impl Student {
    pub fn read(line: &str) -> Self {
        let (id, fields) = line.strip_prefix("Student ").unwrap().split_once(": ").unwrap();
        let fields: Vec<&str> = fields.strip_suffix('.').unwrap().split(", ").collect();
        let field = |i: usize, name: &str| fields[i].strip_prefix(name).unwrap().trim().to_owned();
        assert_eq!(fields.len(), 5, "{line}");
        Self {
            id: id.into(),
            name: field(0, "name"),
            year: field(1, "year"),
            school: field(2, "school"),
            major: field(3, "major"),
            grade: field(4, "grade").parse().unwrap(),
        }
    }

    fn field(&self, name: &str) -> String {
        match name {
            "year" => self.year.clone(),
            "school" => self.school.clone(),
            "major" => self.major.clone(),
            "grade" => self.grade.to_string(),
            _ => panic!("{name}"),
        }
    }

    /// `year junior and school Law`
    fn has(&self, conditions: &str) -> bool {
        conditions.split(" and ").all(|condition| {
            let (name, value) = condition.split_once(' ').unwrap();
            self.field(name) == value
        })
    }
}

/// The one student of this name, or of this `Student 4271`.
fn find<'a>(students: &'a [Student], called: &str) -> &'a Student {
    let found: Vec<&Student> =
        students.iter().filter(|s| s.name == called || format!("Student {}", s.id) == called).collect();
    assert_eq!(found.len(), 1, "{called}");
    found[0]
}

/// The answer to a question of any kind.
pub fn answer(records: &[String], question: &str) -> String {
    let students: Vec<Student> = records.iter().map(|record| Student::read(record)).collect();
    let middle = |start: &str, end: &str| question.strip_prefix(start)?.strip_suffix(end);
    if let Some(rest) = middle("Do ", "?") {
        let (pair, field) = rest.split_once(" have the same ").unwrap();
        let (a, b) = pair.split_once(" and ").unwrap();
        let same = find(&students, a).field(field) == find(&students, b).field(field);
        return if same { "yes" } else { "no" }.into();
    }
    if let Some(rest) = middle("Who has the ", "?") {
        let (degree, pair) = rest.split_once(" grade, ").unwrap();
        let (a, b) = pair.split_once(" or ").unwrap();
        let (a, b) = (find(&students, a), find(&students, b));
        assert_ne!(a.grade, b.grade, "{question} has no answer");
        let (low, high) = if a.grade < b.grade { (a, b) } else { (b, a) };
        return if degree == "higher" { high } else { low }.name.clone();
    }
    if let Some(conditions) = middle("How many students have ", "?") {
        return students.iter().filter(|s| s.has(conditions)).count().to_string();
    }
    if let Some(rest) = middle("Sort ", " first.") {
        return sorted(&students, rest);
    }
    let rest = middle("What is the ", "?").unwrap();
    match rest.split_once(" grade of students with ") {
        Some((degree, group)) => aggregate(&students, degree, group),
        None => {
            let (field, student) = rest.split_once(" of ").unwrap();
            find(&students, student).field(field)
        }
    }
}

/// `A, B and C by grade, lowest`
fn sorted(students: &[Student], question: &str) -> String {
    let (names, direction) = question.split_once(" by grade, ").unwrap();
    let names = names.replace(" and ", ", ");
    let mut graded: Vec<(u32, &str)> = names.split(", ").map(|n| (find(students, n).grade, n)).collect();
    graded.sort_unstable();
    assert!(graded.windows(2).all(|pair| pair[0].0 < pair[1].0), "{question} has several answers");
    if direction == "highest" {
        graded.reverse();
    }
    graded.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}

fn aggregate(students: &[Student], degree: &str, group: &str) -> String {
    let (group, rounded) = match group.split_once(", ") {
        Some((group, how)) => (group, how == "rounded down"),
        None => (group, false),
    };
    assert_eq!(rounded, degree == "average");
    let mut grades: Vec<u32> = students.iter().filter(|s| s.has(group)).map(|s| s.grade).collect();
    grades.sort_unstable();
    let value = match degree {
        "highest" => *grades.last().unwrap(),
        "lowest" => grades[0],
        "average" => (f64::from(grades.iter().sum::<u32>()) / grades.len() as f64).floor() as u32,
        _ => panic!("{degree}"),
    };
    value.to_string()
}
