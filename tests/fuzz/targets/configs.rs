//! Configurations in TOML.

use perk::config::{BaseRecipe, Config};

use super::room::{room_with, texts};
use super::{Form, Target};

/// The file of either.
const FILE: &str = "config.toml";

pub const TARGETS: [Target; 2] = [
    Target {
        name: "config",
        file: FILE,
        form: Form::Toml,
        seeds: || {
            let every_key = Config::from_toml(FILE.as_ref(), MINIMAL).and_then(|config| config.to_toml());
            let every_key = every_key.expect("the configuration is valid");
            texts(&[MINIMAL, &every_key])
        },
        read: |data| {
            let path = room_with("config", |_| {}, FILE, data).join(FILE);
            let config = Config::load(&path, &[])?;
            // What is saved beside a result reads back as itself.
            let again = Config::from_toml(&path, &config.to_toml()?)?;
            assert_eq!(again, config);
            Ok(())
        },
    },
    Target {
        name: "base-recipe",
        file: FILE,
        form: Form::Toml,
        seeds: || {
            let every_key = BaseRecipe::default().to_toml().expect("the recipe is valid");
            texts(&["[train]\nsteps = 60\n", &every_key])
        },
        read: |data| {
            let path = room_with("base-recipe", |_| {}, FILE, data).join(FILE);
            BaseRecipe::load(&path, &[])?.to_toml().map(drop)
        },
    },
];

const MINIMAL: &str = "[model]\nbase = \"base\"\n[lora]\nrank = 2\nlayers = 1\n[inner]\nsteps = 2\n\
                       differentiated = 1\nlr = 0.01\n[data]\ncontext_tokens = 40\nsegment_tokens = 24\n\
                       prompt = \"Question: {question} Answer: {answer}\"\n[eval]\nmultiples = [1, 4]\n\
                       [run]\ndir = \"runs/tiny\"\nseed = 3\n";
