//! References of Nessie: branches, tags and commits of a whole catalog.
//!
//! Nessie serves its tables as any Iceberg REST catalog does, below a prefix that names a reference
//! and a warehouse: another prefix is another state. It says so in its configuration
//! (`nessie.is-nessie-catalog`), which also has the address of its own API, version 2, for the
//! references themselves. Sources: `HttpTreeApi` and `openapi.yaml` of Nessie's `api/model`,
//! `IcebergConfigurer` and `IcebergApiV1ResourceBase` of its `catalog/service/rest`.

mod references;
mod requests;
mod versioned;
mod wire;

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::http::Client;
use super::paths::escaped;
use super::{Inner, RestCatalog};
use crate::catalog::Catalog;
use crate::error::{CatalogError, Result};

/// The version of Nessie's API.
const API_VERSION: &str = "v2";
/// The branch of a server that does not name its own.
const DEFAULT_BRANCH: &str = "main";
/// Stands for a slash in a prefix: many servers refuse paths with one that is escaped.
const SLASH_IN_PREFIX: &str = "\u{1f}";
/// Names that cannot be those of references.
const RESERVED_NAMES: [&str; 2] = ["HEAD", "DETACHED"];

/// The references of a Nessie server, as one handle of a catalog sees them.
#[derive(Clone)]
pub(super) struct Nessie {
    /// Asks Nessie's own API.
    client: Client,
    /// The part of a prefix that is no reference; `None` leaves the warehouse to the server.
    warehouse: Option<String>,
    /// The branch of the configured address.
    default_branch: String,
    position: Position,
}

/// The state that a handle reads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Position {
    /// The newest state of a branch, which takes commits.
    Branch(String),
    /// A state that cannot be changed.
    Fixed {
        /// What Nessie calls it: `tag`, `branch@hash`, `@hash`.
        spec: String,
        /// What messages call it.
        what: String,
    },
}

impl Position {
    /// What Nessie calls it.
    fn spec(&self) -> &str {
        match self {
            Self::Branch(name) => name,
            Self::Fixed { spec, .. } => spec,
        }
    }
}

impl Nessie {
    /// The references of the server whose tables `client` asks for below `prefix`.
    pub(super) fn new(
        client: &Client,
        core_uri: String,
        prefix: &str,
        default_branch: Option<&str>,
    ) -> Self {
        let (reference, warehouse) = parts_of(prefix);
        let reference = default_branch.map_or(reference, str::to_string);
        let default_branch = match reference.as_str() {
            // How a prefix names the branch that is the server's choice.
            "" | "-" => DEFAULT_BRANCH.to_string(),
            _ => reference,
        };
        let position = match is_reference_name(&default_branch) {
            true => Position::Branch(default_branch.clone()),
            // The configured address names one commit of a branch.
            false => Position::Fixed {
                spec: default_branch.clone(),
                what: format!("version {default_branch}"),
            },
        };
        Self {
            client: client.for_api(core_uri, API_VERSION),
            warehouse,
            default_branch,
            position,
        }
    }

    /// The prefix below which the server has the tables of a state, escaped.
    fn prefix_of(&self, position: &Position) -> String {
        let reference = position.spec().replace('/', SLASH_IN_PREFIX);
        match &self.warehouse {
            Some(warehouse) => escaped(&format!("{reference}|{warehouse}")),
            None => escaped(&reference),
        }
    }
}

impl Inner {
    /// The references of the server.
    ///
    /// # Errors
    /// `Unsupported` when it is not Nessie.
    pub(super) fn nessie(&self) -> Result<&Nessie> {
        self.nessie.as_ref().ok_or_else(|| {
            CatalogError::Unsupported(format!(
                "this in catalog {}, which is a rest catalog and not nessie (catalog branches, \
                 catalog versions and transactions need the sql catalog, without \
                 catalog.rest.uri),",
                self.name
            ))
        })
    }

    /// Refuses changes of a state that cannot be changed.
    pub(super) fn check_can_change(&self) -> Result<()> {
        match self.nessie.as_ref().map(|nessie| &nessie.position) {
            Some(Position::Fixed { what, .. }) => Err(CatalogError::InvalidInput(format!(
                "{what} cannot be changed: make a branch from it"
            ))),
            Some(Position::Branch(_)) | None => Ok(()),
        }
    }
}

impl RestCatalog {
    /// The same catalog at another state.
    fn moved(&self, nessie: &Nessie, position: Position) -> Arc<dyn Catalog> {
        let mut inner = self.inner.as_ref().clone();
        inner.paths = inner.paths.below_prefix(&nessie.prefix_of(&position));
        inner.nessie = Some(Nessie {
            position,
            ..nessie.clone()
        });
        Arc::new(Self {
            inner: Arc::new(inner),
        })
    }
}

/// The reference and the warehouse of a prefix, which is escaped as a form is.
fn parts_of(prefix: &str) -> (String, Option<String>) {
    let spaced = prefix.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
    let decoded = decoded.replace(SLASH_IN_PREFIX, "/");
    match decoded.split_once('|') {
        Some((reference, warehouse)) => {
            let warehouse = Some(warehouse.to_string()).filter(|name| !name.is_empty());
            (reference.to_string(), warehouse)
        }
        None => (decoded, None),
    }
}

/// Whether Nessie could have a branch or tag of this name. Any other text would mean something else
/// in a path, such as a commit of a branch.
fn is_reference_name(name: &str) -> bool {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "./_-".contains(letter);
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(is_allowed)
        && !name.ends_with(['.', '/'])
        && !name.contains("..")
        && !RESERVED_NAMES.contains(&name)
        && !is_hash(name)
}

/// Whether a text is what Nessie calls commits by: 4 to 32 bytes, hexadecimal.
fn is_hash(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_name_a_reference_and_a_warehouse() {
        let named = |reference: &str, warehouse: Option<&str>| {
            (reference.to_string(), warehouse.map(str::to_string))
        };
        assert_eq!(parts_of("main"), named("main", None));
        assert_eq!(parts_of("main%7C"), named("main", None));
        assert_eq!(parts_of("a%2Fb%7Cw+1"), named("a/b", Some("w 1")));
        assert_eq!(parts_of("a%1Fb%7Cw%2B1"), named("a/b", Some("w+1")));
    }

    #[test]
    fn names_are_told_from_commits_and_paths() {
        for name in ["main", "a", "a/b-c_d.e", "Dev_", "deadbee", "deadbeeg"] {
            assert!(is_reference_name(name), "{name}");
        }
        let others = [
            "", "-", "1a", "a b", "a@b", "a*1", "a~1", "a|b", "a..b", "a.", "a/", "ü", "HEAD",
            "DETACHED", "deadbeef",
        ];
        for name in others {
            assert!(!is_reference_name(name), "{name}");
        }
    }
}
