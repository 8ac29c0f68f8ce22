//! Whether two attempts of one job were ever there at the same time, by what they wrote themselves.

use std::collections::HashMap;

use bulkhead_shared::Uuid;

use crate::attempts::Write;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Overlap {
    /// Writes that the register refused: an older attempt was there after a newer one had begun.
    pub(crate) refused: usize,
    /// The longest time that such an attempt was there, in seconds.
    pub(crate) longest: f64,
}

/// Goes through all writes in their order.
pub(crate) fn measure(writes: &[Write]) -> Overlap {
    let mut overlap = Overlap::default();
    // The newest fence that has written, and when it did first.
    let mut newest: HashMap<Uuid, (u64, f64)> = HashMap::new();
    for write in writes {
        let (job, fence) = write.attempt;
        let (known, since) = *newest.entry(job).or_insert((fence, write.at));
        assert_eq!(
            write.is_accepted,
            fence >= known,
            "the register took a write of an older fence than {known}: {write:?}"
        );
        if fence > known {
            newest.insert(job, (fence, write.at));
        } else if fence < known {
            overlap.refused += 1;
            overlap.longest = overlap.longest.max(write.at - since);
        }
    }
    overlap
}
