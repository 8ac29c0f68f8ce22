//! Revocation in every state.

use bulkhead_shared::Uuid;
use bulkhead_shared::broker::{Overdue, Renewal, Revocation, Settled};
use bulkhead_shared::catalog::State;
use bulkhead_shared::outcome::Cause;
use bulkhead_shared::retry::Move;
use bulkhead_tests::{LEASE, TestClock, for_each_backend, job, secs, succeed};

for_each_backend!(
    a_waiting_job_that_is_revoked_ends_in_that_very_move,
    |scene| {
        for message in [job(), job().delay(secs(9))] {
            let uuid = scene.submit(message);
            assert_eq!(
                scene.broker().revoke(uuid, false).unwrap(),
                Revocation::Ended
            );
            let row = scene.row(uuid);
            assert_eq!(
                (row.state, row.cause),
                (State::Dropped, Some(Cause::Revoked))
            );
            assert_eq!(row.finished_at, Some(TestClock::START));
            let again = scene.broker().revoke(uuid, false).unwrap();
            assert_eq!(again, Revocation::AlreadyEnded);
        }
        scene.clock.pass(secs(9));
        assert!(scene.claim(5).is_empty());
    }
);

for_each_backend!(
    the_result_of_a_job_that_was_revoked_while_it_ran_is_discarded,
    |scene| {
        let uuid = scene.submit(job());
        let claimed = scene.claim_one();
        assert_eq!(
            scene.broker().revoke(uuid, true).unwrap(),
            Revocation::Skipped
        );
        assert_eq!(
            scene.broker().revoke(uuid, false).unwrap(),
            Revocation::Told
        );
        let revoked = scene.turn(Vec::new(), 0).revoked;
        assert_eq!(revoked, std::slice::from_ref(&claimed.receipt));
        let renewed = scene
            .broker()
            .renew(std::slice::from_ref(&claimed.receipt), LEASE)
            .unwrap();
        assert_eq!(renewed, [Renewal::Revoked]);
        assert!(scene.row(uuid).is_revoked);
        assert_eq!(scene.settle(&claimed, succeed(b"1")), Settled::Revoked);
        let row = scene.row(uuid);
        assert_eq!(
            (row.state, row.cause),
            (State::Dropped, Some(Cause::Revoked))
        );
        assert!(!row.history.is_empty());
        assert!(scene.store.catalog.result(uuid).unwrap().is_none());
        assert!(scene.turn(Vec::new(), 0).revoked.is_empty());
    }
);

for_each_backend!(
    a_revoked_job_is_not_run_again_by_retry_or_release,
    |scene| {
        for next in [
            Move::Release,
            Move::Retry {
                at: TestClock::START,
            },
        ] {
            let uuid = scene.submit(job());
            let claimed = scene.claim_one();
            scene.broker().revoke(uuid, false).unwrap();
            assert_eq!(scene.settle(&claimed, next), Settled::Revoked);
            assert_eq!(scene.state(uuid), Some(State::Dropped));
        }
    }
);

for_each_backend!(
    a_revocation_outlives_the_supervisor_that_was_told,
    |scene| {
        let uuid = scene.submit(job());
        scene.claim_one();
        scene.broker().revoke(uuid, false).unwrap();
        scene.clock.pass(LEASE);
        let taken = scene.take_over(&Overdue::Lease).remove(0);
        assert_eq!(scene.settle(&taken, Move::Release), Settled::Revoked);
    }
);

for_each_backend!(
    revoking_an_ended_or_unknown_job_changes_nothing_and_says_so,
    |scene| {
        let uuid = scene.submit(job());
        let claimed = scene.claim_one();
        scene.settle(&claimed, succeed(b"1"));
        let answer = scene.broker().revoke(uuid, false).unwrap();
        assert_eq!(answer, Revocation::AlreadyEnded);
        assert_eq!(scene.state(uuid), Some(State::Succeeded));
        let answer = scene.broker().revoke(Uuid::now_v7(), false).unwrap();
        assert_eq!(answer, Revocation::Unknown);
    }
);
