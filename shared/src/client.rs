//! For producers: submit, watch, fetch, revoke.
