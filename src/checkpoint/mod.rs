//! Files written whole or not at all, and the state of a training run on disk.
