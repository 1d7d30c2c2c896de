#![no_main]

perk_fuzz::fuzz!("checkpoint-tensors");
