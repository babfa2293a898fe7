//! The Pi's side: init, overlay, personality.
