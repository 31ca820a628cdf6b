//! Credentials of storage that come with a table ("vended").

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::TableIdent;
use iceberg::spec::TableMetadata;

use super::http::{Call, Client};
use super::wire::{StorageCredential, TableAccess, TableResult};
use super::{AccessDelegation, Inner};
use crate::error::Result;
use crate::storage::{AccessRenewal, Location, S3Config, Scheme, StorageAccess};
use crate::table::ident_name;

/// Properties of a table whose files are elsewhere than in its own folder.
const FOLDER_PROPERTIES: [&str; 2] = ["write.data.path", "write.metadata.path"];

/// The folders of S3 that a table's files are in. Whatever is granted is used by the whole process,
/// so that credentials of one table must not come to be those of another one's folder.
struct Folders {
    /// The table's own; `None` when it is not in S3.
    own: Option<String>,
    /// Those that its properties name. Whoever may change the table chooses them, so that they
    /// count only as far as the server names them too.
    elsewhere: Vec<String>,
}

impl Folders {
    fn of(metadata: &TableMetadata) -> Self {
        let properties = metadata.properties();
        let elsewhere = FOLDER_PROPERTIES
            .iter()
            .filter_map(|name| properties.get(*name))
            .map(|folder| folder.trim_end_matches('/').to_string())
            .filter(|folder| {
                // A bucket is no folder of one table, if its properties alone say so.
                in_s3(folder).is_some_and(|location| location.path.parts().next().is_some())
            });
        let own = metadata.location().trim_end_matches('/').to_string();
        Self {
            own: Some(own).filter(|own| in_s3(own).is_some()),
            elsewhere: elsewhere.collect(),
        }
    }

    /// What credentials are used for that the server gives for a prefix: the table's own folder if
    /// the prefix has it in it, else the prefix if that is in one of the table's folders.
    fn granted_by(&self, prefix: &str) -> Option<String> {
        let prefix = prefix.trim_end_matches('/');
        // A scheme alone, or nothing, is for all that has it.
        if "s3://".starts_with(prefix) {
            return self.own.clone();
        }
        let named = in_s3(prefix)?;
        let own = self.own.as_deref().and_then(in_s3);
        if own.is_some_and(|own| own.is_within(&named)) {
            return self.own.clone();
        }
        let mut folders = self.own.iter().chain(&self.elsewhere);
        folders
            .any(|folder| in_s3(folder).is_some_and(|folder| named.is_within(&folder)))
            .then(|| prefix.to_string())
    }
}

fn in_s3(location: &str) -> Option<Location> {
    let parsed = Location::parse(location).ok()?;
    matches!(parsed.scheme, Scheme::S3 { .. }).then_some(parsed)
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
/// the same keys to the table's own folder.
fn accesses(answer: &TableAccess, folders: &Folders, own: &S3Config) -> Vec<StorageAccess> {
    let empty = HashMap::new();
    let common = answer.config.as_ref().unwrap_or(&empty);
    let mut found: Vec<StorageAccess> = Vec::new();
    let mut add = |location: String, properties: &HashMap<String, String>| {
        let Some(s3) = s3_access(properties, own) else {
            return;
        };
        if found.iter().all(|known| known.location != location) {
            found.push(StorageAccess {
                location,
                s3,
                expires_at_ms: expires_at_ms(properties),
            });
        }
    };
    // The most specific one counts (specification, `StorageCredential`).
    let mut credentials: Vec<&StorageCredential> =
        answer.storage_credentials.iter().flatten().collect();
    credentials
        .sort_by_key(|credential| std::cmp::Reverse(credential.prefix.trim_end_matches('/').len()));
    for credential in credentials {
        if let Some(location) = folders.granted_by(&credential.prefix) {
            let mut properties = common.clone();
            properties.extend(credential.config.clone());
            add(location, &properties);
        }
    }
    if let Some(location) = &folders.own {
        add(location.clone(), common);
    }
    found
}

/// Asks for a table's credentials again. Storage keeps it longer than the handle of the catalog that
/// the table was loaded from.
struct TableRenewal {
    client: Client,
    catalog: String,
    ident: TableIdent,
    /// Of the table.
    path: String,
    /// Whether the server gives credentials without the table.
    has_credentials: bool,
    folders: Folders,
    own: S3Config,
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
        let answer = match self.has_credentials {
            true => {
                let call = Call::get(format!("{}/credentials", self.path)).with_access(true);
                self.client.fetch::<TableAccess>(&call).await
            }
            false => {
                let call = Call::get(self.path.clone()).with_access(true);
                let loaded = self.client.fetch::<TableResult>(&call).await;
                loaded.map(|loaded| loaded.access)
            }
        };
        let answer = answer.map_err(|failure| failure.into_error(&self.catalog))?;
        Ok(accesses(&answer, &self.folders, &self.own))
    }
}

impl Inner {
    /// Whether to ask for credentials.
    pub(super) fn wants_access(&self) -> bool {
        self.access_delegation == AccessDelegation::VendedCredentials
    }

    /// Uses the credentials that came with a table, if any came.
    pub(super) fn take_access(
        &self,
        ident: &TableIdent,
        metadata: &TableMetadata,
        answer: &TableAccess,
    ) -> Result<()> {
        if !self.wants_access() {
            return Ok(());
        }
        let folders = Folders::of(metadata);
        let own = &self.storage.config().s3;
        let accesses = accesses(answer, &folders, own);
        if accesses.is_empty() {
            return Ok(());
        }
        let renewal: Arc<dyn AccessRenewal> = Arc::new(TableRenewal {
            client: self.client.clone(),
            catalog: self.name.clone(),
            ident: ident.clone(),
            path: self.paths.table(ident)?,
            has_credentials: self.endpoints.has_credentials(),
            folders,
            own: own.clone(),
        });
        // The server may let a tag or an old version only be read, and all states of a table are in
        // the same folder.
        let is_for_reading = self.check_can_change().is_err();
        for access in accesses {
            let renewal = Some(Arc::clone(&renewal));
            match is_for_reading {
                true => self.storage.grant_unless_known(access, renewal)?,
                false => self.storage.grant(access, renewal)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use iceberg::NamespaceIdent;
    use iceberg::spec::{
        FormatVersion, NestedField, PrimitiveType, Schema, SortOrder, Type, UnboundPartitionSpec,
    };

    use super::*;
    use crate::catalog::TableDraft;

    fn answer(json: serde_json::Value) -> TableAccess {
        serde_json::from_value(json).unwrap()
    }

    /// The folders of a table at `s3://b/t` with such properties.
    fn folders(properties: &[(&str, &str)]) -> Folders {
        let ident = TableIdent::new(NamespaceIdent::new("s".to_string()), "t".to_string());
        let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
        let pairs = properties.iter();
        let draft = TableDraft {
            schema: Schema::builder()
                .with_fields(vec![id.into()])
                .build()
                .unwrap(),
            spec: UnboundPartitionSpec::builder().build(),
            sort_order: SortOrder::unsorted_order(),
            format_version: FormatVersion::V2,
            location: None,
            properties: pairs
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        };
        Folders::of(&draft.build(&ident, "s3://b/t").unwrap())
    }

    /// What is granted with credentials for these prefixes, and the keys, called like the prefixes.
    fn granted(folders: &Folders, prefixes: &[&str]) -> Vec<(String, String)> {
        let credentials = prefixes.iter().map(|prefix| {
            serde_json::json!({"prefix": prefix, "config": {
                "s3.access-key-id": prefix, "s3.secret-access-key": "hush"}})
        });
        let credentials: Vec<serde_json::Value> = credentials.collect();
        let answer = answer(serde_json::json!({"storage-credentials": credentials}));
        let found = accesses(&answer, folders, &S3Config::default());
        let pairs = keys(&found).into_iter();
        pairs
            .map(|(location, key)| (location.to_string(), key.to_string()))
            .collect()
    }

    fn pair(location: &str, key: &str) -> (String, String) {
        (location.to_string(), key.to_string())
    }

    #[test]
    fn other_folders_than_the_tables_are_not_granted() {
        let table = folders(&[]);
        for prefix in ["s3://b", "s3://b/", "s3a://b/t/", "s3://b/t"] {
            assert_eq!(granted(&table, &[prefix]), [pair("s3://b/t", prefix)]);
        }
        for prefix in ["s3://b/other", "s3://b/t2", "s3://c/t", "gs://b/t"] {
            assert!(granted(&table, &[prefix]).is_empty(), "{prefix}");
        }
        assert_eq!(
            granted(&table, &["s3", "s3://b", "s3://b/t/data"]),
            [
                pair("s3://b/t/data", "s3://b/t/data"),
                pair("s3://b/t", "s3://b")
            ]
        );
    }

    #[test]
    fn folders_of_properties_are_granted_when_the_server_names_them() {
        let table = folders(&[
            ("write.data.path", "s3://b/data/"),
            ("write.metadata.path", "s3://c"),
        ]);
        assert_eq!(granted(&table, &["s3://b"]), [pair("s3://b/t", "s3://b")]);
        assert_eq!(
            granted(&table, &["s3://b/data"]),
            [pair("s3://b/data", "s3://b/data")]
        );
        // A bucket is no folder of the table because a property names it.
        for prefix in ["s3://b/data2", "s3://c", "s3://c/other"] {
            assert!(granted(&table, &[prefix]).is_empty(), "{prefix}");
        }
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
        let table = folders(&[]);
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
        let table = folders(&[]);
        assert!(accesses(&answer(config), &table, &S3Config::default()).is_empty());
    }
}
