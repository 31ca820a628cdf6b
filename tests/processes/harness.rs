//! The binary as processes of its own, on loopback, killed when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_ingot");

/// How long a process may take to be ready, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary with these settings and no others.
pub fn ingot(settings: &[(&str, String)]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars() {
        if name.starts_with("INGOT_") || name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
    command
}

/// A process with its log in a file.
struct Process {
    child: Child,
}

impl Process {
    fn start(mut command: Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One coordinator process and the workers that were started for it.
pub struct ProcessCluster {
    settings: Vec<(&'static str, String)>,
    folder: PathBuf,
    flight: String,
    http: String,
    scheduler: String,
    workers: Vec<Process>,
    _coordinator: Process,
}

impl ProcessCluster {
    /// Starts a coordinator over `folder/lake` and waits until it is ready.
    pub fn start(folder: &Path, settings: &[(&'static str, String)]) -> Self {
        let mut command = ingot(settings);
        command
            .arg("coordinator")
            .args([
                "--flight-port",
                "0",
                "--http-port",
                "0",
                "--scheduler-port",
                "0",
            ])
            .arg("--data")
            .arg(folder.join("lake"))
            .current_dir(folder);
        let mut coordinator = Process::start(command, &folder.join("coordinator.log"));
        let said = coordinator.child.stdout.take().unwrap();
        let mut addresses = [String::new(), String::new(), String::new()];
        for line in BufReader::new(said).lines() {
            let line = line.unwrap();
            let last = line.split_whitespace().last().unwrap_or_default();
            if line.contains("SQL shell") {
                addresses[0] = last.to_string();
            } else if line.contains("status page") {
                addresses[1] = last.trim_start_matches("http://").to_string();
            } else if line.contains("workers") {
                addresses[2] = last.to_string();
                break;
            }
        }
        let [flight, http, scheduler] = addresses;
        let log = std::fs::read_to_string(folder.join("coordinator.log")).unwrap();
        assert!(
            !scheduler.is_empty(),
            "the coordinator did not start: {log}"
        );
        Self {
            settings: settings.to_vec(),
            folder: folder.to_path_buf(),
            flight,
            http,
            scheduler,
            workers: Vec::new(),
            _coordinator: coordinator,
        }
    }

    /// Starts workers of one slot each and waits until they have joined.
    pub fn add_workers(&mut self, count: usize) {
        let work_dir = self.folder.join("work");
        self.add_workers_in(count, &work_dir);
    }

    /// The same, with a folder for their shuffle files.
    pub fn add_workers_in(&mut self, count: usize, work_dir: &Path) {
        for _ in 0..count {
            let number = self.workers.len();
            let mut command = ingot(&self.settings);
            command
                .args(["worker", "--slots", "1", "--coordinator", &self.scheduler])
                .arg("--work-dir")
                .arg(work_dir.join(number.to_string()));
            let log = self.folder.join(format!("worker-{number}.log"));
            self.workers.push(Process::start(command, &log));
        }
        let begun = Instant::now();
        while self.joined() < self.workers.len() {
            assert!(
                begun.elapsed() < PATIENCE,
                "workers did not join: {}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where it takes statements over Flight SQL.
    pub fn flight(&self) -> &str {
        &self.flight
    }

    /// Where it serves its tables to others.
    pub fn rest_uri(&self) -> String {
        format!("http://{}/iceberg", self.http)
    }

    fn joined(&self) -> usize {
        let mut connection = TcpStream::connect(&self.http).unwrap();
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.http
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let line = answer
            .lines()
            .find(|line| line.starts_with("ingot_workers "));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value.map_or(0, |value| value.parse::<f64>().unwrap() as usize)
    }

    /// Runs statements through the shell.
    pub fn run(&self, statements: &str) -> Output {
        ingot(&[])
            .args([
                "sql",
                "--server",
                &self.flight,
                "--quiet",
                "--output",
                "csv",
                "-e",
                statements,
            ])
            .output()
            .unwrap()
    }

    /// A shell that runs statements, and goes on when this returns: at the latest when a line
    /// that begins with `until` is printed.
    pub fn run_until(&self, statements: &str, until: &str) -> Child {
        let mut shell = ingot(&[])
            .args(["sql", "--server", &self.flight, "--output", "csv", "-e"])
            .arg(statements)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = BufReader::new(shell.stdout.take().unwrap());
        let mut lines = printed.lines().map(Result::unwrap);
        let found = lines.any(|line| line.starts_with(until));
        assert!(found, "{statements} ended early: {}", self.logs());
        shell
    }

    /// The CSV that statements print; they must succeed.
    pub fn query(&self, statements: &str) -> String {
        let output = self.run(statements);
        assert!(
            output.status.success(),
            "{statements}: {}{}",
            String::from_utf8_lossy(&output.stderr),
            self.logs()
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error that statements end with; they must fail.
    pub fn error(&self, statements: &str) -> String {
        let output = self.run(statements);
        assert!(!output.status.success(), "{statements} succeeded");
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.trim().lines().count(), 1, "{error}");
        error
    }

    /// What all processes have logged.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                text.push_str(&format!("\n--- {}\n", path.display()));
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
        text
    }
}

/// All files below a folder, by their path within it.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
