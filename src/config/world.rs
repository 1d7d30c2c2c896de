//! Size of a generated world, shared by the blocks `[data]` and `[corpus]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Checker;

/// Size of a generated world and of its stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WorldConfig {
    /// Fewest facts of a story.
    pub min_facts: usize,
    /// Most facts of a story.
    pub max_facts: usize,
    /// People.
    pub actors: usize,
    /// Places.
    pub places: usize,
    /// Objects (qa2, qa3).
    pub objects: usize,
    /// Verbs of motion.
    pub verbs: usize,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self { min_facts: 2, max_facts: 6, actors: 4, places: 6, objects: 3, verbs: 5 }
    }
}

impl WorldConfig {
    /// People that the world knows by name.
    pub const MAX_ACTORS: usize = 8;
    /// Places that the world knows.
    pub const MAX_PLACES: usize = 9;
    /// Objects that the world knows.
    pub const MAX_OBJECTS: usize = 6;
    /// Verbs of motion that the world knows.
    pub const MAX_VERBS: usize = 5;
    /// Bound of counts that only time and memory limit.
    pub(super) const MANY: usize = 10_000;

    pub(super) fn validate(&self, fewest_facts: usize, check: &mut Checker) {
        check.range("min_facts", self.min_facts, fewest_facts, Self::MANY);
        check.range("max_facts", self.max_facts, self.min_facts, Self::MANY);
        check.range("actors", self.actors, 1, Self::MAX_ACTORS);
        // Nobody moves to where they are, so there must be somewhere else.
        check.range("places", self.places, 2, Self::MAX_PLACES);
        check.range("objects", self.objects, 1, Self::MAX_OBJECTS);
        check.range("verbs", self.verbs, 1, Self::MAX_VERBS);
    }
}
