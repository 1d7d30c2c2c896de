//! The benchmarks that `perk eval` asks: one module each.

pub mod api_retrieval;
pub mod student_records;

pub use api_retrieval::ApiRetrieval;
pub use student_records::StudentRecords;
