#![no_main]

perk_fuzz::fuzz!("document-request");
