#![no_main]

perk_fuzz::fuzz!("api-retrieval");
