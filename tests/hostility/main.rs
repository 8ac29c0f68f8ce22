//! Hostility.
