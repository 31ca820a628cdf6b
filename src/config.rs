//! `ingot.toml` and the environment, checked and typed.

mod rest;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ingot_catalog::{RestCatalogOptions, S3Config, StorageConfig};
use ingot_coordinator::core::MaintenanceOptions;
use ingot_coordinator::units::parse_duration;
use ingot_engine::catalog_list::DEFAULT_MANIFEST_CACHE_BYTES;
use serde::Deserialize;
use toml::{Table, Value};

use crate::settings::{SETTINGS, Setting, SettingKind};

pub use rest::RestSection;

/// What can be wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{origin}: {message}")]
    Syntax { origin: String, message: String },
    #[error("{origin}: unknown setting {key}; did you mean {nearest}?")]
    UnknownKey {
        origin: String,
        key: String,
        nearest: String,
    },
    #[error("{origin}: setting {key}: {message}")]
    Value {
        origin: String,
        key: String,
        message: String,
    },
}

/// Everything that can be configured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    pub catalog: CatalogSection,
    pub storage: StorageSection,
    pub coordinator: CoordinatorSection,
    pub query: QuerySection,
    pub worker: WorkerSection,
    pub maintenance: MaintenanceSection,
    pub jobs: JobsSection,
    pub log: LogSection,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct CatalogSection {
    pub name: String,
    pub url: Option<String>,
    pub warehouse: Option<String>,
    pub manifest_cache: ByteCount,
    pub version_retention: DurationText,
    pub rest: RestSection,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StorageSection {
    pub allowed_folders: Option<Vec<PathBuf>>,
    pub s3: S3Section,
}

#[derive(Clone, Deserialize)]
#[serde(default)]
pub struct S3Section {
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    pub path_style: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct CoordinatorSection {
    pub flight_bind: SocketAddr,
    pub http_bind: SocketAddr,
    pub scheduler_bind: SocketAddr,
    pub flight_tls_certificate: Option<PathBuf>,
    pub flight_tls_key: Option<PathBuf>,
    pub users: Vec<User>,
    pub rest_catalog: bool,
    pub rest_catalog_credentials: bool,
}

/// One user of Flight SQL and the REST catalog.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub password: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct QuerySection {
    pub local_scan_limit: ByteCount,
    pub local_concurrency: usize,
    pub local_memory: ByteCount,
    pub time_zone: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct WorkerSection {
    pub coordinator: String,
    pub bind: String,
    pub advertise: Option<String>,
    pub flight_port: u16,
    pub grpc_port: u16,
    pub slots: usize,
    pub memory: ByteCount,
    pub work_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct MaintenanceSection {
    pub expire_snapshots_min_retention: DurationText,
    pub remove_orphan_files_min_retention: DurationText,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct JobsSection {
    pub schedules: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct LogSection {
    pub level: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// A number of bytes, written as `512MiB`, `2GiB` or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCount(pub u64);

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<bytesize::ByteSize>()
            .map(|size| ByteCount(size.as_u64()))
            .map_err(|_| {
                serde::de::Error::custom(format!("\"{text}\" is not a size such as 64MiB"))
            })
    }
}

/// A duration, written as `7d`, `12h` or `30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationText(pub Duration);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match parse_duration(&text) {
            Some(duration) => Ok(Self(duration)),
            None => Err(serde::de::Error::custom(format!(
                "\"{text}\" is not a duration such as 7d"
            ))),
        }
    }
}

const MEBIBYTE: u64 = 1024 * 1024;

impl Default for CatalogSection {
    fn default() -> Self {
        Self {
            name: "iceberg".to_owned(),
            url: None,
            warehouse: None,
            manifest_cache: ByteCount(DEFAULT_MANIFEST_CACHE_BYTES),
            version_retention: DurationText(Duration::ZERO),
            rest: RestSection::default(),
        }
    }
}

impl Default for S3Section {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            path_style: true,
        }
    }
}

impl Default for CoordinatorSection {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            flight_bind: loopback(8815),
            http_bind: loopback(8080),
            scheduler_bind: loopback(50050),
            flight_tls_certificate: None,
            flight_tls_key: None,
            users: Vec::new(),
            rest_catalog: true,
            rest_catalog_credentials: false,
        }
    }
}

impl Default for QuerySection {
    fn default() -> Self {
        Self {
            local_scan_limit: ByteCount(64 * MEBIBYTE),
            local_concurrency: 4,
            local_memory: ByteCount(1024 * MEBIBYTE),
            time_zone: "UTC".to_owned(),
        }
    }
}

impl Default for WorkerSection {
    fn default() -> Self {
        Self {
            coordinator: "127.0.0.1:50050".to_owned(),
            bind: "127.0.0.1".to_owned(),
            advertise: None,
            flight_port: 0,
            grpc_port: 0,
            slots: 0,
            memory: ByteCount(2048 * MEBIBYTE),
            work_dir: None,
        }
    }
}

impl Default for MaintenanceSection {
    fn default() -> Self {
        let defaults = MaintenanceOptions::default();
        Self {
            expire_snapshots_min_retention: DurationText(defaults.expire_snapshots_min_retention),
            remove_orphan_files_min_retention: DurationText(
                defaults.remove_orphan_files_min_retention,
            ),
        }
    }
}

impl Default for JobsSection {
    fn default() -> Self {
        Self { schedules: true }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl std::fmt::Debug for S3Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Section")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the file, if any, lets the environment override it, and checks every key.
    ///
    /// `environment` is the process's environment (a parameter so that tests need not change it).
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = Table::new();
        let mut origin = "environment".to_owned();
        if let Some(path) = path {
            origin = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?;
            table = parse_file(&origin, &text)?;
            check_keys(&origin, "", &table)?;
        }
        for (name, value) in environment {
            override_from_environment(&mut table, &name, &value)?;
        }
        let config = typed(&origin, table)?;
        rest::check(&config.catalog, &origin)?;
        Ok(config)
    }

    /// Where the tables are, if in a REST catalog.
    pub fn rest_catalog_options(&self) -> Option<RestCatalogOptions> {
        self.catalog.rest.options()
    }

    /// The S3 settings in the form that the catalog takes.
    pub fn storage_config(&self) -> StorageConfig {
        let s3 = &self.storage.s3;
        StorageConfig {
            s3: S3Config {
                endpoint: s3.endpoint.clone(),
                region: s3.region.clone(),
                access_key_id: s3.access_key_id.clone(),
                secret_access_key: s3.secret_access_key.clone(),
                session_token: s3.session_token.clone(),
                path_style: s3.path_style,
            },
            allowed_folders: self.storage.allowed_folders.clone(),
        }
    }
}

fn parse_file(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| {
        let line = error
            .span()
            .map(|span| text[..span.start.min(text.len())].lines().count().max(1))
            .unwrap_or(1);
        ConfigError::Syntax {
            origin: format!("{origin}:{line}"),
            message: one_line(error.message()),
        }
    })
}

/// Refuses keys that no setting has.
fn check_keys(origin: &str, prefix: &str, table: &Table) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = match prefix {
            "" => name.clone(),
            _ => format!("{prefix}.{name}"),
        };
        let is_setting = SETTINGS.iter().any(|setting| setting.key == key);
        let section_prefix = format!("{key}.");
        let is_section = SETTINGS
            .iter()
            .any(|setting| setting.key.starts_with(&section_prefix));
        match value {
            _ if is_setting => {}
            Value::Table(section) if is_section => check_keys(origin, &key, section)?,
            Value::Table(section) => {
                // Name a setting inside the misspelt section, so that the remedy is a whole key.
                let inner = section.keys().next();
                let full_key = inner.map_or(key.clone(), |inner| format!("{key}.{inner}"));
                return Err(unknown_key(origin, &full_key));
            }
            _ => return Err(unknown_key(origin, &key)),
        }
    }
    Ok(())
}

fn unknown_key(origin: &str, key: &str) -> ConfigError {
    ConfigError::UnknownKey {
        origin: origin.to_owned(),
        key: key.to_owned(),
        nearest: nearest(key, SETTINGS.iter().map(|setting| setting.key.to_owned())),
    }
}

fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> String {
    candidates
        .min_by_key(|candidate| strsim::damerau_levenshtein(name, candidate))
        .unwrap_or_default()
}

/// Environment variables of the commands themselves, not of the configuration.
pub const COMMAND_VARIABLES: &[&str] = &[
    "INGOT_CONFIG",
    "INGOT_SERVER",
    "INGOT_USER",
    "INGOT_PASSWORD",
];

fn override_from_environment(
    table: &mut Table,
    name: &str,
    value: &str,
) -> Result<(), ConfigError> {
    if !name.starts_with("INGOT_") || COMMAND_VARIABLES.contains(&name) {
        return Ok(());
    }
    let Some(setting) = SETTINGS
        .iter()
        .find(|setting| setting.environment_variable() == name)
    else {
        return Err(ConfigError::UnknownKey {
            origin: "environment".to_owned(),
            key: name.to_owned(),
            nearest: nearest(name, SETTINGS.iter().map(Setting::environment_variable)),
        });
    };
    let invalid = |message: String| ConfigError::Value {
        origin: format!("environment variable {name}"),
        key: setting.key.to_owned(),
        message,
    };
    let value = match setting.kind {
        SettingKind::Text => Value::String(value.to_owned()),
        SettingKind::Integer => Value::Integer(
            value
                .parse()
                .map_err(|_| invalid(format!("\"{value}\" is not a whole number")))?,
        ),
        SettingKind::Boolean => Value::Boolean(
            value
                .parse()
                .map_err(|_| invalid(format!("\"{value}\" is neither true nor false")))?,
        ),
        SettingKind::List => Value::Array(
            value
                .split(',')
                .map(|item| Value::String(item.trim().to_owned()))
                .collect(),
        ),
        SettingKind::Tables => {
            return Err(invalid("can be given only in ingot.toml".to_owned()));
        }
    };
    insert(table, setting.key, value);
    Ok(())
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let entry = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            // A section given as something else was refused by `check_keys`.
            if let Value::Table(section) = entry {
                insert(section, rest, value);
            }
        }
    }
}

/// Deserializes section by section, so that an error names its setting.
fn typed(origin: &str, table: Table) -> Result<Config, ConfigError> {
    for setting in SETTINGS {
        let mut single = Table::new();
        if let Some(value) = lookup(&table, setting.key) {
            insert(&mut single, setting.key, value.clone());
            Config::deserialize(single).map_err(|error| ConfigError::Value {
                origin: origin.to_owned(),
                key: setting.key.to_owned(),
                message: one_line(error.message()),
            })?;
        }
    }
    Config::deserialize(table).map_err(|error| ConfigError::Syntax {
        origin: origin.to_owned(),
        message: one_line(error.message()),
    })
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => lookup(table.get(section)?.as_table()?, rest),
    }
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingot.toml");
        std::fs::write(&path, text).unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Config::load(Some(&path), environment)
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let text = "[storage.s3]\nendpoint = 'http://a'\nregion = 'here'\n[worker]\nslots = 3\n";
        let variables = [
            ("INGOT_STORAGE_S3_ENDPOINT", "http://b"),
            ("INGOT_COORDINATOR_REST_CATALOG", "true"),
            ("INGOT_WORKER_MEMORY", "512MiB"),
            ("PATH", "/bin"),
        ];
        let config = load(text, &variables).unwrap();
        assert_eq!(config.storage.s3.endpoint.as_deref(), Some("http://b"));
        assert_eq!(config.storage.s3.region.as_deref(), Some("here"));
        assert_eq!(config.worker.slots, 3);
        assert_eq!(config.worker.memory, ByteCount(512 * MEBIBYTE));
        assert!(config.coordinator.rest_catalog);
    }

    #[test]
    fn unknown_keys_name_the_nearest_valid_one() {
        let message = load("[storage.s3]\nendpont = 'x'\n", &[])
            .unwrap_err()
            .to_string();
        assert!(
            message
                .ends_with("unknown setting storage.s3.endpont; did you mean storage.s3.endpoint?"),
            "{message}"
        );
        let message = load("[wroker]\nslots = 1\n", &[]).unwrap_err().to_string();
        assert!(message.ends_with("did you mean worker.slots?"), "{message}");
        let message = load("", &[("INGOT_WORKER_SLOT", "1")])
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with("did you mean INGOT_WORKER_SLOTS?"),
            "{message}"
        );
    }

    #[test]
    fn wrong_values_name_the_setting() {
        let message = load("[query]\nlocal_memory = 'much'\n", &[])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("query.local_memory") && message.contains("\"much\" is not a size"),
            "{message}"
        );
        let message = load("[worker]\nslots = 'two'\n", &[])
            .unwrap_err()
            .to_string();
        assert!(message.contains("worker.slots"), "{message}");
        let message = load("", &[("INGOT_COORDINATOR_REST_CATALOG", "yes")])
            .unwrap_err()
            .to_string();
        assert!(message.contains("neither true nor false"), "{message}");
        let message = load("[worker\n", &[]).unwrap_err().to_string();
        assert!(message.contains("ingot.toml:1"), "{message}");
    }

    /// Every documented default, read from a file, gives the built-in configuration.
    #[test]
    fn documented_defaults_are_the_real_ones() {
        let mut table = Table::new();
        for setting in SETTINGS
            .iter()
            .filter(|setting| !setting.default.is_empty())
        {
            let value = match setting.kind {
                SettingKind::Integer => Value::Integer(setting.default.parse().unwrap()),
                SettingKind::Boolean => Value::Boolean(setting.default.parse().unwrap()),
                _ => Value::String(setting.default.to_owned()),
            };
            insert(&mut table, setting.key, value);
        }
        let mut documented = typed("settings", table).unwrap();
        // The one default that AWS needs and that is set where the client is built.
        assert_eq!(
            documented.storage.s3.region.take().as_deref(),
            Some("us-east-1")
        );
        assert_eq!(
            format!("{documented:?}"),
            format!("{:?}", Config::default())
        );
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let text = "[storage.s3]\nsecret_access_key = 'hush'\n[[coordinator.users]]\nname = 'a'\npassword = 'hush'\n[catalog.rest]\nuri = 'http://h'\ncredential = 'a:hush'\n";
        let config = load(text, &[]).unwrap();
        assert_eq!(config.coordinator.users[0].password, "hush");
        assert!(!format!("{config:?}").contains("hush"));
    }
}
