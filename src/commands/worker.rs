//! `ingot worker`

use ingot_catalog::Storage;
use ingot_engine::runtime::{RuntimeOptions, build_runtime};

use super::serve::{shutdown_on_signal, worker_options};
use crate::cli::WorkerArgs;
use crate::config::Config;
use crate::error::Result;

/// Runs a worker until it is told to stop; it finishes its tasks first.
pub async fn run(config: &Config, arguments: &WorkerArgs) -> Result<()> {
    let shutdown = shutdown_on_signal()?;
    let mut config = config.clone();
    let settings = &mut config.worker;
    if let Some(coordinator) = &arguments.coordinator {
        settings.coordinator = coordinator.clone();
    }
    if let Some(bind) = &arguments.bind {
        settings.bind = bind.clone();
    }
    if let Some(advertise) = &arguments.advertise {
        settings.advertise = Some(advertise.clone());
    }
    if let Some(slots) = arguments.slots {
        settings.slots = slots;
    }
    if let Some(work_dir) = &arguments.work_dir {
        settings.work_dir = Some(work_dir.clone());
    }
    let storage = Storage::new(config.storage_config());
    let runtime = build_runtime(
        storage.clone(),
        &RuntimeOptions {
            memory_limit_bytes: config.worker.memory.0 as usize,
            ..RuntimeOptions::default()
        },
    )?;
    let options = worker_options(&config, runtime, &storage)?;
    let worker = ingot_worker::start(options, shutdown).await?;
    println!(
        "worker with {} slots joined {}",
        worker.slots, config.worker.coordinator
    );
    worker.wait().await?;
    Ok(())
}
