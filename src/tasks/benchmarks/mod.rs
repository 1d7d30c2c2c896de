//! The benchmarks that `perk eval` asks: one module each.

pub mod student_records;

pub use student_records::StudentRecords;
