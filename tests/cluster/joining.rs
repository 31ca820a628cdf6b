//! Workers that join, cannot join, and join again.

use std::net::TcpListener;
use std::time::Duration;

use ingot_worker::{WorkerError, WorkerOptions};
use tokio_util::sync::CancellationToken;

use crate::harness::{StartOptions, TestCluster, wait_until, worker_options};

async fn start_error(options: WorkerOptions) -> String {
    let error = ingot_worker::start(options, CancellationToken::new())
        .await
        .unwrap_err();
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_join_says_why() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = unused.local_addr().unwrap().to_string();
    drop(unused);
    let message = start_error(WorkerOptions {
        connect_timeout: Duration::from_secs(1),
        ..worker_options(nobody.clone())
    })
    .await;
    let begin = format!("cannot reach coordinator {nobody} after 1 s: ");
    assert!(message.starts_with(&begin), "{message}");

    let stop = CancellationToken::new();
    stop.cancel();
    let stopped = ingot_worker::start(worker_options(nobody), stop).await;
    assert!(matches!(stopped, Err(WorkerError::NeverJoined)));

    let message = start_error(worker_options("localhost")).await;
    assert!(message.contains("HOST:PORT"), "{message}");

    let test = TestCluster::start().await;
    let coordinator = test.cluster.address().to_string();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    for (options, setting) in [
        (
            WorkerOptions {
                flight_port: taken_port,
                ..worker_options(coordinator.clone())
            },
            "worker.flight_port",
        ),
        (
            WorkerOptions {
                grpc_port: taken_port,
                ..worker_options(coordinator.clone())
            },
            "worker.grpc_port",
        ),
    ] {
        let message = start_error(options).await;
        assert!(message.contains(setting), "{message}");
        assert!(message.contains(&taken_port.to_string()), "{message}");
    }

    // What a worker has bound itself is no scheduler.
    let stop = CancellationToken::new();
    let worker = ingot_worker::start(worker_options(coordinator), stop.clone())
        .await
        .unwrap();
    let message = start_error(worker_options(format!("127.0.0.1:{}", worker.flight_port))).await;
    assert!(message.contains("no scheduler"), "{message}");
    stop.cancel();
    worker.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_run_in_one_process() {
    let test = TestCluster::start().await;
    let stop = CancellationToken::new();
    let mut workers = Vec::new();
    for _ in 0..2 {
        let options = WorkerOptions {
            slots: 2,
            work_dir: Some(test.folder.path().join("work")),
            ..worker_options(test.cluster.address().to_string())
        };
        workers.push(ingot_worker::start(options, stop.clone()).await.unwrap());
    }
    test.wait_for_slots(4).await;
    let sql = "SELECT grp, count(*), sum(id) FROM t GROUP BY grp";
    assert_eq!(test.rows(sql).await, test.plain_rows(sql).await);
    stop.cancel();
    for worker in workers {
        worker.wait().await.unwrap();
    }
    test.wait_for_slots(0).await;
    // Nothing stays in the folder.
    let left = std::fs::read_dir(test.folder.path().join("work")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_join_again_when_the_coordinator_restarts() {
    let test = TestCluster::start().await;
    let sql = "SELECT sum(id) FROM t";
    let workers = test.add_workers(2, 1).await;
    let expected = test.rows(sql).await;
    let port = test.cluster.address().port();
    drop(test);
    let address = ("127.0.0.1", port);
    wait_until("free port", || async { TcpListener::bind(address).is_ok() }).await;

    let restarted = TestCluster::start_with(StartOptions {
        port,
        ..StartOptions::default()
    })
    .await;
    restarted.wait_for_slots(2).await;
    assert_eq!(restarted.rows(sql).await, expected);
    drop(workers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_leaves_at_once_without_a_coordinator() {
    let test = TestCluster::start().await;
    let stop = CancellationToken::new();
    let options = worker_options(test.cluster.address().to_string());
    let worker = ingot_worker::start(options, stop.clone()).await.unwrap();
    drop(test);
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.cancel();
    let left: Result<(), WorkerError> =
        tokio::time::timeout(Duration::from_secs(30), worker.wait())
            .await
            .unwrap();
    left.unwrap();
}
