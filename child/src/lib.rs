//! Write tasks for Bulkhead.
