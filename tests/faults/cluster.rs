//! A cluster of three masters, one of which dies and comes back.

use bulkhead_tests::cli::Place;
use bulkhead_tests::redis_cluster::{RedisCluster, master_of};

use crate::parts::{AWAY, BACK, quick, start, succeeds_at_once, was_brief};

#[test]
fn a_supervisor_serves_queues_on_all_servers_of_a_cluster_and_bears_the_death_of_one() {
    let mut cluster = RedisCluster::start();
    let place = Place::with_store(&cluster.url());
    let master_of = |queue: &str| master_of(&format!("bulkhead|{queue}"));
    let named = |master| {
        let mut names = (0..1000).map(|number| format!("q{number}"));
        names.find(|name| master_of(name) == master).unwrap()
    };
    let queues: Vec<_> = (0..3).map(named).collect();
    let all = format!("default,{}", queues.join(","));
    let mut supervisor = start(&place, &["--queues", &all]);
    let on = |queue: &str| {
        let words = [
            "flaky",
            "--args",
            "[0]",
            "--queue",
            queue,
            "--max-retries",
            "0",
        ];
        place.submit(&words)
    };
    for queue in &queues {
        succeeds_at_once(&place, &on(queue));
    }
    // Not the one with the namespace's own keys: then others could not even be found.
    let dies = (0..3).find(|&master| master != master_of("")).unwrap();
    cluster.masters[dies].kill();
    supervisor.says(AWAY);
    cluster.masters[dies].start_again();
    supervisor.says(BACK);
    for queue in &queues {
        succeeds_at_once(&place, &on(queue));
    }
    let default = quick(&place);
    succeeds_at_once(&place, &default);
    was_brief(&supervisor);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}
