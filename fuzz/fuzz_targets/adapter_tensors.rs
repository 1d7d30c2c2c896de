#![no_main]

perk_fuzz::fuzz!("adapter-tensors");
