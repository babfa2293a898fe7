//! Puts the parts together, runs them, reloads them and stops them.
