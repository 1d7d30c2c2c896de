//! Episodes: contexts with questions, read or generated, and their segments.
