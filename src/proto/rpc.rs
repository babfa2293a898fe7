//! Pure protocol code.
