//! Animals, and what drives people.

/// What the animal's kind is afraid of.
pub fn fear<'a>(facts: impl Iterator<Item = Vec<&'a str>> + Clone, name: &str) -> Option<String> {
    let kind = kind(facts.clone(), name)?;
    let feared = facts.clone().find_map(|fact| match fact[..] {
        [many, "are", "afraid", "of", feared] if one_of(&many.to_lowercase()) == kind => Some(feared),
        _ => None,
    });
    feared.map(|many| one_of(many).to_owned())
}

/// `wolf` of `wolves`.
fn one_of(many: &str) -> &str {
    match many {
        "mice" => "mouse",
        "wolves" => "wolf",
        "cats" => "cat",
        same => same,
    }
}

fn kind<'a>(mut facts: impl Iterator<Item = Vec<&'a str>>, name: &str) -> Option<&'a str> {
    facts.find_map(|fact| match fact[..] {
        [who, "is", "a", kind] if who.eq_ignore_ascii_case(name) => Some(kind),
        _ => None,
    })
}

/// The colour of the last one told of the same kind.
pub fn colour<'a>(facts: impl Iterator<Item = Vec<&'a str>> + Clone, name: &str) -> Option<String> {
    let own = kind(facts.clone(), name)?;
    let colours = facts.clone().filter_map(|fact| match fact[..] {
        [who, "is", colour] if kind(facts.clone(), who) == Some(own) => Some(colour.to_owned()),
        _ => None,
    });
    colours.last()
}

/// How somebody feels.
pub fn feeling<'a>(facts: impl Iterator<Item = Vec<&'a str>>, name: &str) -> Option<String> {
    let feelings = facts.filter_map(|fact| match fact[..] {
        [who, "is", feeling] if who.eq_ignore_ascii_case(name) => Some(feeling.to_owned()),
        _ => None,
    });
    feelings.last()
}

/// Where one goes who feels like this.
pub fn goal(feeling: &str) -> Option<String> {
    let place = match feeling {
        "hungry" | "thirsty" => "kitchen",
        "tired" => "bedroom",
        "bored" => "garden",
        _ => return None,
    };
    Some(place.into())
}
