//! See [`crate::store`].
