#![no_main]

perk_fuzz::fuzz!("base-gguf");
