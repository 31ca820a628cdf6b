//! Every setting of `ingot.toml`: its key, what it means and an example.
//!
//! One table serves the check for unknown keys, the environment overrides and
//! `ingot config`, so that none of them can forget a setting.

/// How the text of an environment variable becomes a TOML value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// Taken as it is.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// An array of texts; in an environment variable they are separated by commas.
    List,
    /// An array of tables; it cannot be given in one environment variable.
    Tables,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Dotted key in `ingot.toml`, such as `storage.s3.endpoint`.
    pub key: &'static str,
    /// How it is written.
    pub kind: SettingKind,
    /// What holds when it is not given; empty when there is none.
    pub default: &'static str,
    /// What it does, with its unit.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable that overrides this setting: `INGOT_STORAGE_S3_ENDPOINT`.
    pub fn environment_variable(&self) -> String {
        format!("INGOT_{}", self.key.replace('.', "_").to_uppercase())
    }
}

const fn setting(
    key: &'static str,
    kind: SettingKind,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default,
        help,
    }
}

use SettingKind::{Boolean, Integer, List, Tables, Text};

/// All settings, in the order in which they are documented.
pub const SETTINGS: &[Setting] = &[
    setting(
        "catalog.name",
        Text,
        "iceberg",
        "Name of the catalog in SQL: the first part of `catalog.schema.table`.",
    ),
    setting(
        "catalog.url",
        Text,
        "",
        "Catalog database: `sqlite:///path/catalog.db` (one coordinator) or `postgres://user@host/database`. Without it, `catalog.db` in the data folder.",
    ),
    setting(
        "catalog.warehouse",
        Text,
        "",
        "Where new tables are stored: `file:///path` or `s3://bucket/prefix`. Without it, `warehouse` in the data folder.",
    ),
    setting(
        "catalog.manifest_cache",
        Text,
        "256MiB",
        "Memory for the parsed manifests of tables, from which queries are planned; beyond it they are read again.",
    ),
    setting(
        "catalog.version_retention",
        Text,
        "0s",
        "How long a table's earlier states keep their files after a commit replaced them, as `7d` or `12h`. States that a branch or tag of the catalog has keep theirs anyway.",
    ),
    setting(
        "catalog.rest.uri",
        Text,
        "",
        "Use the tables of an Iceberg REST catalog, such as `https://host/catalog`, instead of Ingot's own: see docs/rest-catalog.md. The catalog database then has the jobs only.",
    ),
    setting(
        "catalog.rest.warehouse",
        Text,
        "",
        "Which warehouse of the REST catalog; the server chooses without it.",
    ),
    setting(
        "catalog.rest.credential",
        Text,
        "",
        "OAuth 2 client for the REST catalog, `id:secret` or the secret alone; never logged.",
    ),
    setting(
        "catalog.rest.scope",
        Text,
        "catalog",
        "OAuth 2 scope of the tokens that the client asks for.",
    ),
    setting(
        "catalog.rest.oauth2_server_uri",
        Text,
        "",
        "Where the client gets its tokens. Without it, `/v1/oauth/tokens` of the REST catalog.",
    ),
    setting(
        "catalog.rest.token",
        Text,
        "",
        "Bearer token for the REST catalog, in the place of a client; never logged.",
    ),
    setting(
        "catalog.rest.user",
        Text,
        "",
        "User for the REST catalog, in the place of a client (HTTP basic authentication).",
    ),
    setting(
        "catalog.rest.password",
        Text,
        "",
        "Password of that user; never logged.",
    ),
    setting(
        "catalog.rest.access_delegation",
        Text,
        "vended-credentials",
        "`vended-credentials` reaches each table's files with the credentials that the REST catalog gives for it, where it gives any; `none` always uses `storage.s3`.",
    ),
    setting(
        "catalog.rest.nested_namespaces",
        Boolean,
        "false",
        "Whether namespaces within namespaces of the REST catalog are schemas too, called `\"outer.inner\"`.",
    ),
    setting(
        "storage.allowed_folders",
        List,
        "",
        "Local folders whose files statements may name (`read_csv`, `COPY INTO`, its rejects). Without it, the data folder and the folder in which the server was started, unless that is `/`. `ingot sql --local` may use all.",
    ),
    setting(
        "storage.s3.endpoint",
        Text,
        "",
        "Endpoint of an S3-compatible store, such as `http://minio:9000`. Without it, AWS.",
    ),
    setting(
        "storage.s3.region",
        Text,
        "us-east-1",
        "S3 region; MinIO accepts any.",
    ),
    setting(
        "storage.s3.access_key_id",
        Text,
        "",
        "S3 access key. Without it, `AWS_ACCESS_KEY_ID` or the instance's own credentials.",
    ),
    setting(
        "storage.s3.secret_access_key",
        Text,
        "",
        "S3 secret key; never logged.",
    ),
    setting(
        "storage.s3.session_token",
        Text,
        "",
        "Session token of temporary S3 credentials; never logged.",
    ),
    setting(
        "storage.s3.path_style",
        Boolean,
        "true",
        "Address buckets as `endpoint/bucket` (MinIO and most others) instead of `bucket.endpoint`.",
    ),
    setting(
        "coordinator.flight_bind",
        Text,
        "127.0.0.1:8815",
        "Address of Flight SQL, for clients.",
    ),
    setting(
        "coordinator.http_bind",
        Text,
        "127.0.0.1:8080",
        "Address of HTTP: status page, health, metrics and the REST catalog.",
    ),
    setting(
        "coordinator.scheduler_bind",
        Text,
        "127.0.0.1:50050",
        "Address that workers join; internal, it has no authentication.",
    ),
    setting(
        "coordinator.flight_tls_certificate",
        Text,
        "",
        "PEM file with the certificate chain of Flight SQL; without it, plain text.",
    ),
    setting(
        "coordinator.flight_tls_key",
        Text,
        "",
        "PEM file with the private key of that certificate.",
    ),
    setting(
        "coordinator.users",
        Tables,
        "",
        "Users of Flight SQL and the REST catalog, each `{ name = \"…\", password = \"…\" }`. Without any, no password is asked.",
    ),
    setting(
        "coordinator.rest_catalog",
        Boolean,
        "true",
        "Whether the HTTP port serves the Iceberg REST catalog, below `/iceberg`.",
    ),
    setting(
        "coordinator.rest_catalog_credentials",
        Boolean,
        "false",
        "Whether the REST catalog gives clients the S3 key and secret of this file together with each table. They are good for all that the key may do.",
    ),
    setting(
        "query.local_scan_limit",
        Text,
        "64MiB",
        "Statements that read at most this much run in the coordinator; larger ones on the workers.",
    ),
    setting(
        "query.local_concurrency",
        Integer,
        "4",
        "How many statements the coordinator runs itself at the same time.",
    ),
    setting(
        "query.local_memory",
        Text,
        "1GiB",
        "Memory of the statements that the coordinator runs itself, together; beyond it they spill to disk.",
    ),
    setting(
        "query.time_zone",
        Text,
        "UTC",
        "Time zone of sessions that set none.",
    ),
    setting(
        "worker.coordinator",
        Text,
        "127.0.0.1:50050",
        "Address of the coordinator's scheduler.",
    ),
    setting(
        "worker.bind",
        Text,
        "127.0.0.1",
        "Address on which a worker listens; internal, it has no authentication.",
    ),
    setting(
        "worker.advertise",
        Text,
        "",
        "Host name by which the others reach this worker. Without it, the address from which it connects.",
    ),
    setting(
        "worker.flight_port",
        Integer,
        "0",
        "Port on which other workers fetch shuffle data; 0 takes a free one.",
    ),
    setting(
        "worker.grpc_port",
        Integer,
        "0",
        "Port on which the coordinator hands out tasks; 0 takes a free one.",
    ),
    setting(
        "worker.slots",
        Integer,
        "0",
        "Tasks that a worker runs at the same time; 0 is one for each core.",
    ),
    setting(
        "worker.memory",
        Text,
        "2GiB",
        "Memory of a worker's operators; beyond it they spill to disk.",
    ),
    setting(
        "worker.work_dir",
        Text,
        "",
        "Folder for shuffle and spill files. Without it, a folder of its own below the system's temporary folder.",
    ),
    setting(
        "maintenance.expire_snapshots_min_retention",
        Text,
        "7d",
        "Shortest `retention_threshold` that `expire_snapshots` takes; statements read files of old snapshots while they run.",
    ),
    setting(
        "maintenance.remove_orphan_files_min_retention",
        Text,
        "7d",
        "Shortest `retention_threshold` that `remove_orphan_files` takes; files that are being written look like orphans.",
    ),
    setting(
        "jobs.schedules",
        Boolean,
        "true",
        "Whether schedules fire in this coordinator.",
    ),
    setting(
        "log.level",
        Text,
        "info",
        "Log filter: a level, or `target=level` pairs as in `RUST_LOG`.",
    ),
    setting(
        "log.format",
        Text,
        "text",
        "`text` for people, `json` for machines.",
    ),
];
