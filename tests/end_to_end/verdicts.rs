//! What is said about a job that ended.

use bulkhead_tests::cli::Place;
use bulkhead_tests::supervise::Supervisor;
use serde_json::json;

#[test]
fn a_job_returns_its_result() {
    let place = Place::new();
    let job = place.submit(&["add", "--args", "[2, 3]"]);
    let mut supervisor = Supervisor::start(&place, &["--processes", "1"]);
    assert_eq!(place.returned(&job), json!(5));
    assert_eq!(supervisor.stop(), 0);
}
