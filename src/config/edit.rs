//! See [`crate::config`].
