//! A PostgreSQL server beside this process, where it is installed.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server with an empty database, on a free port of loopback.
pub struct Postgres {
    server: Child,
    port: u16,
    _folder: TempDir,
}

impl Postgres {
    /// The user of [`Postgres::url`], who owns everything.
    pub const USER: &str = "ingot";
    /// Its password, which the server checks.
    pub const PASSWORD: &str = "pg-test-password";

    /// Starts a server, or says on standard error why there is none and returns `None`.
    pub fn start() -> Option<Self> {
        let Some(programs) = installed() else {
            eprintln!("skipped: postgresql is not installed (no /usr/lib/postgresql/*/bin/initdb)");
            return None;
        };
        let account = Account::current_or_postgres()?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let password_file = folder.path().join("password");
        std::fs::write(&password_file, Self::PASSWORD).unwrap();
        account.give(folder.path());
        account.give(&password_file);

        let created = account
            .command(programs.join("initdb"))
            .arg("--pgdata")
            .arg(&data)
            .args(["--username", Self::USER, "--auth", "scram-sha-256"])
            .arg("--pwfile")
            .arg(&password_file)
            .args(["--encoding", "UTF8", "--no-sync", "--no-locale"])
            .output()
            .unwrap();
        assert!(
            created.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&created.stderr)
        );
        let port = free_port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let server = account
            .command(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-c", "unix_socket_directories=", "-c", "fsync=off"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let postgres = Self {
            server,
            port,
            _folder: folder,
        };
        postgres.wait_until_ready(&account, &programs);
        Some(postgres)
    }

    fn wait_until_ready(&self, account: &Account, programs: &Path) {
        let begun = Instant::now();
        loop {
            let ready = account
                .command(programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .unwrap();
            if ready.success() {
                return;
            }
            let waited = begun.elapsed();
            assert!(
                waited < Duration::from_secs(60),
                "postgresql does not start"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `postgres://user:password@127.0.0.1:PORT/postgres`.
    pub fn url(&self) -> String {
        format!(
            "postgres://{}:{}@127.0.0.1:{}/postgres",
            Self::USER,
            Self::PASSWORD,
            self.port
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT is PostgreSQL's immediate shutdown, which ends its children too.
        let process = self.server.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &process]).status();
        let _ = self.server.wait();
    }
}

/// The newest installed version's programs.
fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut programs: Vec<_> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|programs| programs.join("initdb").is_file())
        .collect();
    programs.sort();
    programs.pop()
}

/// Who the server runs as: PostgreSQL refuses to run as root.
enum Account {
    Current,
    Other { user: u32, group: u32 },
}

impl Account {
    fn current_or_postgres() -> Option<Self> {
        // Whoever owns this process owns its files in /proc.
        let owner = std::fs::metadata("/proc/self").ok()?;
        if std::os::unix::fs::MetadataExt::uid(&owner) != 0 {
            return Some(Self::Current);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
        let account = accounts
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&"postgres"));
        let Some(account) = account else {
            eprintln!("skipped: running as root, and there is no user postgres");
            return None;
        };
        Some(Self::Other {
            user: account.get(2)?.parse().ok()?,
            group: account.get(3)?.parse().ok()?,
        })
    }

    fn give(&self, path: &Path) {
        if let Self::Other { user, group } = self {
            std::os::unix::fs::chown(path, Some(*user), Some(*group)).unwrap();
        }
    }

    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        // The folder of this process may be closed to the other user.
        command.current_dir("/");
        if let Self::Other { user, group } = self {
            command.uid(*user).gid(*group);
        }
        command
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
