//! Workers that are killed, leave and join while queries run.

use std::time::Duration;

use ingot_coordinator::cluster::ExecuteOptions;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::{TestCluster, collect, sorted_rows, wait_until};

/// Two stages; the second one is slow.
const SLOW_END: &str = "SELECT grp, slowly(count(*)), sum(slowly(id)) FROM \
     (SELECT grp, id % 40 AS id, count(*) FROM t GROUP BY grp, id % 40) GROUP BY grp";

/// How long a query that loses a worker may take.
const PATIENCE: Duration = Duration::from_secs(90);

fn seed() -> u64 {
    let seed = match std::env::var("INGOT_TEST_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => rand::random(),
    };
    println!("INGOT_TEST_SEED={seed}");
    seed
}

/// Kills one of three workers once `stages` stages are done and a little time has passed.
async fn kill_one_worker(stages: u32, random: &mut StdRng) {
    let test = TestCluster::start().await;
    let mut workers = test.add_workers(3, 1).await;
    let expected = test.plain_rows(SLOW_END).await;
    let options = ExecuteOptions::new();
    let query = test.begin(SLOW_END, &options).await.unwrap();
    let result = tokio::spawn(collect(query));
    wait_until("stages", || async {
        options.progress.counts().stages_done >= stages || result.is_finished()
    })
    .await;
    tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
    let victim = random.random_range(0..workers.len());
    let was_running = !result.is_finished();
    workers[victim].kill();
    let batches = tokio::time::timeout(PATIENCE, result)
        .await
        .unwrap_or_else(|_| panic!("hangs, {:?}", options.progress))
        .unwrap()
        .unwrap();
    assert_eq!(
        sorted_rows(&batches),
        expected,
        "was running: {was_running}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_first_stage_costs_no_row() {
    let mut random = StdRng::seed_from_u64(seed());
    kill_one_worker(0, &mut random).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_final_stage_costs_no_row() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..2 {
        kill_one_worker(1, &mut random).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_joins_takes_part() {
    let test = TestCluster::start().await;
    let _first = test.add_workers(1, 1).await;
    let sql = "SELECT sum(slowly(id)) FROM t";
    let expected = test.plain_rows("SELECT sum(id) FROM t").await;
    let options = ExecuteOptions::new();
    let query = test.begin(sql, &options).await.unwrap();
    let result = tokio::spawn(collect(query));
    let _second = test.add_workers(1, 2).await;
    assert_eq!(sorted_rows(&result.await.unwrap().unwrap()), expected);
    assert_eq!(test.cluster.total_slots().await, 3);
    assert_eq!(test.rows("SELECT sum(id) FROM t").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_finishes_its_work_first() {
    let test = TestCluster::start().await;
    let mut workers = test.add_workers(2, 1).await;
    let expected = test.plain_rows(SLOW_END).await;
    let options = ExecuteOptions::new();
    let query = test.begin(SLOW_END, &options).await.unwrap();
    let result = tokio::spawn(collect(query));
    wait_until("the first stage", || async {
        options.progress.counts().stages_done >= 1
    })
    .await;
    let mut leaving = workers.remove(0);
    let left = tokio::task::spawn_blocking(move || leaving.terminate());
    assert_eq!(sorted_rows(&result.await.unwrap().unwrap()), expected);
    assert_eq!(left.await.unwrap(), Some(0));
    test.wait_for_slots(1).await;
    assert_eq!(test.rows(SLOW_END).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: many kills"]
async fn many_kills() {
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..8 {
        let started = std::time::Instant::now();
        kill_one_worker(round % 3, &mut random).await;
        println!("stage {}: {:?}", round % 3, started.elapsed());
    }
}
