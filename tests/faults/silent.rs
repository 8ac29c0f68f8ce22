//! Servers that do not answer, connections that are cut, and a network that goes down.

use bulkhead_tests::cli::Place;
use bulkhead_tests::network::{self, Network};
use bulkhead_tests::redis_server::RedisServer;
use bulkhead_tests::supervise::PATIENCE;
use bulkhead_tests::until;

use crate::parts::{
    AWAY, BACK, attempts, hold, quick, release, start, succeeds_at_once, times, was_brief,
};

#[test]
fn writes_that_a_server_holds_back_are_made_later() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let mut supervisor = start(&place, &[]);
    let job = hold(&place, "go");
    let _ = place.running(&job);
    server.command("CLIENT PAUSE 600000 WRITE");
    release(&place, "go");
    supervisor.says(AWAY);
    server.command("CLIENT UNPAUSE");
    supervisor.says(BACK);
    succeeds_at_once(&place, &job);
    succeeds_at_once(&place, &quick(&place));
    was_brief(&supervisor);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_server_that_stands_still_is_waited_for() {
    let server = RedisServer::start(&["--enable-debug-command", "yes"]);
    let place = Place::with_store(&server.url());
    let mut supervisor = start(&place, &[]);
    let job = hold(&place, "go");
    let _ = place.running(&job);
    // Too short for anybody to give up.
    server.command("DEBUG SLEEP 0.5");
    assert_eq!(times(&supervisor, AWAY), 0, "{}", supervisor.log());
    server.signal(libc::SIGSTOP);
    supervisor.says(AWAY);
    release(&place, "go");
    server.signal(libc::SIGCONT);
    supervisor.says(BACK);
    succeeds_at_once(&place, &job);
    for _ in 0..3 {
        succeeds_at_once(&place, &quick(&place));
    }
    was_brief(&supervisor);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn scripts_that_are_forgotten_in_mid_run_cost_no_job_an_attempt() {
    let server = RedisServer::start(&[]);
    let place = Place::with_store(&server.url());
    let mut supervisor = start(&place, &[]);
    let jobs: Vec<_> = (0..20)
        .map(|_| {
            server.command("SCRIPT FLUSH");
            quick(&place)
        })
        .collect();
    for job in &jobs {
        server.command("SCRIPT FLUSH");
        succeeds_at_once(&place, job);
    }
    assert_eq!(times(&supervisor, AWAY), 0, "{}", supervisor.log());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn connections_that_the_server_closes_because_they_are_idle_are_made_anew_without_a_word() {
    let server = RedisServer::start(&["--timeout", "1"]);
    let place = Place::with_store(&server.url());
    // Renewals have a connection of their own, which is idle for two seconds each time.
    let arguments = ["--lease", "6s", "--log-level", "debug"];
    let mut supervisor = start(&place, &arguments);
    let job = hold(&place, "go");
    let _ = place.running(&job);
    until("leases to be renewed again and again", PATIENCE, || {
        (times(&supervisor, "leases renewed") > 2).then_some(())
    });
    release(&place, "go");
    succeeds_at_once(&place, &job);
    succeeds_at_once(&place, &quick(&place));
    assert_eq!(times(&supervisor, AWAY), 0, "{}", supervisor.log());
    assert_eq!(times(&supervisor, "WARN"), 0, "{}", supervisor.log());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.log());
}

#[test]
fn a_supervisor_that_is_cut_off_kills_its_tasks_before_others_take_them_up() {
    if !network::can_be_made() {
        return;
    }
    let network = Network::new(1);
    network.middle.within(|| {
        let open = ["--bind", "0.0.0.0", "--protected-mode", "no"];
        let server = RedisServer::start(&open);
        let place = Place::with_store(&server.url());
        let url = format!("redis://10.0.0.1:{}", server.port());
        let far = Place::with_store(&url);
        let lease = ["--lease", "4s"];
        let mut cut_off = network.hosts[0].within(|| start(&far, &lease));
        let job = hold(&place, "go");
        let _ = place.running(&job);
        assert!(!cut_off.processes().is_empty());
        network.cut(0);
        cut_off.says("leases could not be renewed in time");
        cut_off.says(AWAY);
        let mut rescuer = start(&place, &lease);
        // It has run out, and been taken over; the one that runs now is the only one.
        let status = place.status_when(&job, "running again", |status| {
            attempts(status) == 1 && status["status"] == "RUNNING" && !status["pid"].is_null()
        });
        assert_eq!(status["attempts"][0]["cause"], "lost", "{status:#}");
        assert_eq!(times(&cut_off, "attempt ended"), 0, "{}", cut_off.log());
        network.mend(0);
        cut_off.says(BACK);
        release(&place, "go");
        let status = place.ended(&job);
        assert_eq!(status["status"], "SUCCEEDED", "{status:#}");
        assert_eq!(attempts(&status), 2, "{status:#}");
        was_brief(&cut_off);
        assert_eq!(
            (cut_off.stop(), rescuer.stop()),
            (0, 0),
            "{}",
            cut_off.log()
        );
    });
}
