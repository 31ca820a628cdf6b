//! Credentials of storage that come with a table ("vended").

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;

use super::http::Call;
use super::wire::{TableAccess, TableResult};
use super::{AccessDelegation, Inner};
use crate::error::{CatalogError, Result};
use crate::storage::{AccessRenewal, Location, S3Config, Scheme, StorageAccess};
use crate::table::ident_name;

/// Properties of a table whose files are elsewhere than in its own folder.
const FOLDER_PROPERTIES: [&str; 2] = ["write.data.path", "write.metadata.path"];

/// The folders of S3 that a table's files are in.
fn folders(metadata: &TableMetadata) -> Vec<String> {
    let properties = metadata.properties();
    let elsewhere = FOLDER_PROPERTIES
        .iter()
        .filter_map(|name| properties.get(*name));
    std::iter::once(metadata.location())
        .chain(elsewhere.map(String::as_str))
        .map(|folder| folder.trim_end_matches('/').to_string())
        .filter(|folder| is_in_s3(folder))
        .collect()
}

fn is_in_s3(location: &str) -> bool {
    Location::parse(location).is_ok_and(|location| matches!(location.scheme, Scheme::S3 { .. }))
}

/// What the properties of an answer say about S3; `None` when they have no keys. What they leave
/// out is as in `own`.
fn s3_access(properties: &HashMap<String, String>, own: &S3Config) -> Option<S3Config> {
    let get = |name: &str| {
        let value = properties.get(name).filter(|value| !value.is_empty());
        value.cloned()
    };
    let access_key_id = Some(get("s3.access-key-id")?);
    let secret_access_key = Some(get("s3.secret-access-key")?);
    let region = get("s3.region").or_else(|| get("client.region"));
    let path_style = get("s3.path-style-access");
    Some(S3Config {
        endpoint: get("s3.endpoint").or_else(|| own.endpoint.clone()),
        region: region.or_else(|| own.region.clone()),
        access_key_id,
        secret_access_key,
        session_token: get("s3.session-token"),
        path_style: path_style.map_or(own.path_style, |value| value.eq_ignore_ascii_case("true")),
    })
}

/// When keys end, in milliseconds since the epoch. Servers name it differently.
fn expires_at_ms(properties: &HashMap<String, String>) -> Option<i64> {
    ["s3.session-token-expires-at-ms", "expiration-time"]
        .iter()
        .find_map(|name| properties.get(*name)?.parse().ok())
}

/// The access that an answer gives: to the folders that it names with keys of their own, or with
/// the same keys to all folders of the table.
fn accesses(answer: &TableAccess, folders: &[String], own: &S3Config) -> Vec<StorageAccess> {
    let empty = HashMap::new();
    let common = answer.config.as_ref().unwrap_or(&empty);
    let mut found: Vec<StorageAccess> = Vec::new();
    let mut add = |folders: &[String], properties: &HashMap<String, String>| {
        let Some(s3) = s3_access(properties, own) else {
            return;
        };
        for location in folders {
            if found.iter().all(|known| known.location != *location) {
                found.push(StorageAccess {
                    location: location.clone(),
                    s3: s3.clone(),
                    expires_at_ms: expires_at_ms(properties),
                });
            }
        }
    };
    for credential in answer.storage_credentials.iter().flatten() {
        let mut properties = common.clone();
        properties.extend(credential.config.clone());
        let prefix = credential.prefix.trim_end_matches('/').to_string();
        match is_in_s3(&prefix) {
            true => add(&[prefix], &properties),
            // A scheme alone, which is for all that has it.
            false if prefix.is_empty() || "s3://".starts_with(&prefix) => {
                add(folders, &properties);
            }
            false => {}
        }
    }
    add(folders, common);
    found
}

/// Asks for a table's credentials again.
struct TableRenewal {
    inner: Weak<Inner>,
    ident: TableIdent,
    folders: Vec<String>,
}

impl fmt::Debug for TableRenewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableRenewal")
            .field("table", &ident_name(&self.ident))
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl AccessRenewal for TableRenewal {
    async fn renew(&self) -> Result<Vec<StorageAccess>> {
        let Some(inner) = self.inner.upgrade() else {
            return Err(CatalogError::InvalidInput(
                "its catalog was closed".to_string(),
            ));
        };
        let answer = inner.ask_for_access(&self.ident).await?;
        let own = &inner.storage.config().s3;
        Ok(accesses(&answer, &self.folders, own))
    }
}

impl Inner {
    /// Whether to ask for credentials.
    pub(super) fn wants_access(&self) -> bool {
        self.access_delegation == AccessDelegation::VendedCredentials
    }

    /// Uses the credentials that came with a table, if any came.
    pub(super) fn take_access(
        self: &Arc<Self>,
        ident: &TableIdent,
        metadata: &TableMetadata,
        answer: &TableAccess,
    ) -> Result<()> {
        if !self.wants_access() {
            return Ok(());
        }
        let folders = folders(metadata);
        let own = &self.storage.config().s3;
        let accesses = accesses(answer, &folders, own);
        if accesses.is_empty() {
            return Ok(());
        }
        let renewal: Arc<dyn AccessRenewal> = Arc::new(TableRenewal {
            inner: Arc::downgrade(self),
            ident: ident.clone(),
            folders,
        });
        for access in accesses {
            self.storage.grant(access, Some(Arc::clone(&renewal)))?;
        }
        Ok(())
    }

    async fn ask_for_access(&self, ident: &TableIdent) -> Result<TableAccess> {
        let table = self.paths.table(ident)?;
        let answer = match self.endpoints.has_credentials() {
            true => {
                let call = Call::get(format!("{table}/credentials")).with_access(true);
                self.client.fetch::<TableAccess>(&call).await
            }
            false => {
                let call = Call::get(table).with_access(true);
                let loaded = self.client.fetch::<TableResult>(&call).await;
                loaded.map(|loaded| loaded.access)
            }
        };
        answer.map_err(|failure| failure.into_error(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: serde_json::Value) -> TableAccess {
        serde_json::from_value(json).unwrap()
    }

    fn keys(found: &[StorageAccess]) -> Vec<(&str, &str)> {
        let pairs = found.iter().map(|access| {
            let key = access.s3.access_key_id.as_deref().unwrap();
            (access.location.as_str(), key)
        });
        pairs.collect()
    }

    #[test]
    fn folders_get_their_own_keys_or_those_of_the_table() {
        let table = ["s3://b/t".to_string()];
        let own = S3Config {
            endpoint: Some("http://own".to_string()),
            ..S3Config::default()
        };
        let config = serde_json::json!({
            "s3.access-key-id": "of-table", "s3.secret-access-key": "hush",
            "s3.session-token": "token", "client.region": "here",
            "s3.path-style-access": "true", "s3.session-token-expires-at-ms": "17",
        });
        let found = accesses(&answer(serde_json::json!({"config": config})), &table, &own);
        assert_eq!(keys(&found), [("s3://b/t", "of-table")]);
        let access = &found[0];
        assert_eq!(access.expires_at_ms, Some(17));
        assert_eq!(access.s3.endpoint.as_deref(), Some("http://own"));
        assert_eq!(access.s3.region.as_deref(), Some("here"));
        assert!(access.s3.path_style);

        let own_keys = serde_json::json!({
            "config": config,
            "storage-credentials": [
                {"prefix": "s3://b/t/data/", "config": {"s3.access-key-id": "of-data",
                    "s3.secret-access-key": "hush", "s3.endpoint": "http://other"}},
                {"prefix": "gs://b/t", "config": {"gcs.oauth2.token": "hush"}},
            ],
        });
        let found = accesses(&answer(own_keys), &table, &own);
        assert_eq!(
            keys(&found),
            [("s3://b/t/data", "of-data"), ("s3://b/t", "of-table")]
        );
        assert_eq!(found[0].s3.endpoint.as_deref(), Some("http://other"));

        let of_scheme = serde_json::json!({"storage-credentials": [
            {"prefix": "s3", "config": {"s3.access-key-id": "of-all",
                "s3.secret-access-key": "hush"}},
        ]});
        let found = accesses(&answer(of_scheme), &table, &own);
        assert_eq!(keys(&found), [("s3://b/t", "of-all")]);
    }

    #[test]
    fn answers_without_keys_give_nothing() {
        let config = serde_json::json!({"config": {"s3.endpoint": "http://e"}});
        let table = ["s3://b/t".to_string()];
        assert!(accesses(&answer(config), &table, &S3Config::default()).is_empty());
    }
}
