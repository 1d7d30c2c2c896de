//! `[lora]`: the form of the adapter.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Checker;
use crate::error::Fault;

/// The names that `lora.targets` may hold, in the order of a layer.
pub const PROJECTIONS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Which layers carry adapters: written as `"all"`, or a number k for the last k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// Every layer.
    All,
    /// The last k layers, counted from the output (the paper's choice for 7B models).
    Top(usize),
}

impl Serialize for Layers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::All => serializer.serialize_str("all"),
            Self::Top(k) => serializer.serialize_u64(k as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Layers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LayerVisitor)
    }
}

impl JsonSchema for Layers {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Layers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "all" }, { "type": "integer", "minimum": 1 }] })
    }
}

struct LayerVisitor;

impl de::Visitor<'_> for LayerVisitor {
    type Value = Layers;

    fn expecting(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("\"all\" or a number of layers")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Layers, E> {
        match text {
            "all" => Ok(Layers::All),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, layers: u64) -> Result<Layers, E> {
        let layers =
            usize::try_from(layers).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(layers), &self))?;
        Ok(Layers::Top(layers))
    }
}

/// How the adapter starts before meta-training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// As PEFT: A Kaiming-uniform, B zero.
    Peft,
    /// A as PEFT, B normal with standard deviation `b_std`.
    SmallB,
}

/// Form of the adapter: `y = x Wᵀ + b + s (x Aᵀ) Bᵀ`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank r.
    pub rank: usize,
    /// Numerator of the scale s.
    pub alpha: f64,
    /// s = alpha / √r instead of alpha / r.
    pub rslora: bool,
    /// Adapted projections, of [`PROJECTIONS`].
    pub targets: Vec<String>,
    /// Adapted layers.
    pub layers: Layers,
    /// Start.
    pub init: Init,
    /// Standard deviation of B's start with `small_b`.
    pub b_std: f64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 16.0,
            rslora: true,
            targets: PROJECTIONS.map(str::to_owned).to_vec(),
            layers: Layers::All,
            init: Init::Peft,
            b_std: 0.02,
        }
    }
}

impl LoraConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("lora", faults);
        check.range("rank", self.rank, 1, 1 << 14);
        check.positive("alpha", self.alpha);
        check.require(self.layers != Layers::Top(0), "layers", "must be \"all\" or 1 or more");
        check.positive("b_std", self.b_std);
        check.require(!self.targets.is_empty(), "targets", "must name at least one projection");
        for (place, target) in self.targets.iter().enumerate() {
            let known = PROJECTIONS.contains(&target.as_str());
            check.require(known, "targets", format!("`{target}` is none of {}", PROJECTIONS.join(", ")));
            check.require(
                !self.targets[..place].contains(target),
                "targets",
                format!("`{target}` is named twice"),
            );
        }
    }
}
