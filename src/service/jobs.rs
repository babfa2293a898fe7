//! See [`crate::service`].
