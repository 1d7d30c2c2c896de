#![no_main]

perk_fuzz::fuzz!("parquet-zstd");
