//! Pure optimiser functions: (gradients, state, parameters) to (updates, state).
