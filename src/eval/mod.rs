//! Scoring a memory: held-out episodes answered with and without adaptation.
