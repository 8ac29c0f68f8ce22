//! A job as users see it.
