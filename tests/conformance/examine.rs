//! What an examination says about a store that is well.

use std::collections::HashSet;

use bulkhead_shared::finding::{Depth, Severity};
use bulkhead_tests::{for_each_backend, job};

for_each_backend!(
    an_examination_explains_whatever_is_not_well_and_changes_nothing,
    |scene| {
        let uuid = scene.submit(job());
        for depth in [Depth::Quick, Depth::Thorough] {
            let findings = scene.store.catalog.examine(depth).unwrap();
            assert!(!findings.is_empty());
            let checks: HashSet<_> = findings.iter().map(|finding| finding.check).collect();
            assert_eq!(checks.len(), findings.len(), "{findings:?}");
            for finding in &findings {
                assert!(!finding.found.is_empty(), "{finding:?}");
                let is_explained = finding.why.is_some();
                assert_eq!(is_explained, finding.severity > Severity::Ok, "{finding:?}");
                assert!(
                    finding.severity < Severity::Warning || finding.way_out.is_some(),
                    "{finding:?}"
                );
            }
        }
        assert_eq!(scene.claim_one().receipt.uuid, uuid);
    }
);
