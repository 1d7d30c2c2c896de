//! The recipes behind the commands: each reads as the algorithm it runs.
