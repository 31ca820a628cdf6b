//! Temporary credentials for a folder of object storage, as catalogs hand them out ("vended").

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use object_store::path::Path;

use super::{Location, S3Config, Storage};
use crate::error::{CatalogError, Result};

/// Credentials are renewed this long before they end, or when a quarter of their time is left.
const LONGEST_MARGIN_MS: i64 = 5 * 60 * 1_000;

/// How long to wait after a renewal that failed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// How to reach the files of one folder, with keys that are good for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageAccess {
    /// The folder, such as `s3://bucket/warehouse/table`, or a whole bucket.
    pub location: String,
    /// Endpoint, region and keys.
    pub s3: S3Config,
    /// When the keys end, in milliseconds since the epoch; `None` when nobody said.
    pub expires_at_ms: Option<i64>,
}

/// Gets new keys before the old ones end.
#[async_trait]
pub trait AccessRenewal: fmt::Debug + Send + Sync {
    /// Access to the same folders, with new keys.
    ///
    /// # Errors
    /// When whoever hands out the keys does not.
    async fn renew(&self) -> Result<Vec<StorageAccess>>;
}

/// A folder's access as it is now: what its store asks for keys before each request.
pub(super) struct Grant {
    folder: Path,
    state: Mutex<State>,
    /// Held by the one request that renews.
    renewing: tokio::sync::Mutex<()>,
}

struct State {
    access: StorageAccess,
    /// When to renew, in milliseconds since the epoch.
    due_at_ms: Option<i64>,
    renewal: Option<Arc<dyn AccessRenewal>>,
    not_before: Option<Instant>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Grant {
    pub(super) fn new(
        folder: Path,
        access: StorageAccess,
        renewal: Option<Arc<dyn AccessRenewal>>,
    ) -> Arc<Self> {
        let due_at_ms = due_at_ms(&access);
        Arc::new(Self {
            folder,
            state: Mutex::new(State {
                access,
                due_at_ms,
                renewal,
                not_before: None,
            }),
            renewing: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn access(&self) -> StorageAccess {
        self.state().access.clone()
    }

    /// Whether the keys of `access` can take the place of these in the same store.
    pub(super) fn has_same_endpoint(&self, access: &StorageAccess) -> bool {
        let state = self.state();
        let (current, other) = (&state.access.s3, &access.s3);
        current.endpoint == other.endpoint
            && current.region == other.region
            && current.path_style == other.path_style
    }

    /// Takes newer keys. Those that came with a plan and cannot be renewed here are of no use
    /// where the catalog gave some that can, or where a later plan was faster.
    pub(super) fn update(&self, access: StorageAccess, renewal: Option<Arc<dyn AccessRenewal>>) {
        let mut state = self.state();
        if renewal.is_none() {
            let is_older = match (access.expires_at_ms, state.access.expires_at_ms) {
                (Some(offered), Some(current)) => offered < current,
                _ => false,
            };
            if state.renewal.is_some() || is_older {
                return;
            }
        }
        state.due_at_ms = due_at_ms(&access);
        state.access = access;
        state.renewal = renewal;
        state.not_before = None;
    }

    /// Whether the keys are good, and this process gets new ones before they end.
    fn is_lasting(&self) -> bool {
        let state = self.state();
        let ends = state.access.expires_at_ms;
        state.renewal.is_some() && ends.is_none_or(|end| end > now_ms())
    }

    /// Whether the keys ended so long ago that nobody uses them.
    pub(super) fn is_stale(&self) -> bool {
        const KEPT_MS: i64 = 60 * 60 * 1_000;
        let expires_at_ms = self.state().access.expires_at_ms;
        expires_at_ms.is_some_and(|end| end.saturating_add(KEPT_MS) < now_ms())
    }

    /// Renews keys that are about to end, for those who cannot wait for it.
    pub(super) fn renew_in_background(self: &Arc<Self>) {
        if self.due_renewal().is_none() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let grant = Arc::clone(self);
            runtime.spawn(async move { grant.renew_if_due().await });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How to renew, if it is time.
    fn due_renewal(&self) -> Option<Arc<dyn AccessRenewal>> {
        let state = self.state();
        let is_due = state.due_at_ms.is_some_and(|due| due <= now_ms());
        let may_try = state.not_before.is_none_or(|time| time <= Instant::now());
        state.renewal.clone().filter(|_| is_due && may_try)
    }

    async fn renew_if_due(&self) {
        if self.due_renewal().is_none() {
            return;
        }
        let _turn = self.renewing.lock().await;
        let Some(renewal) = self.due_renewal() else {
            return;
        };
        let location = self.access().location;
        let renewed = renewal.renew().await.and_then(|accesses| {
            let mut accesses = accesses.into_iter();
            let own = accesses.find(|access| access.location == location);
            own.ok_or_else(|| {
                CatalogError::InvalidInput(format!(
                    "the catalog gives none for {location} any more"
                ))
            })
        });
        match renewed {
            Ok(access) => self.update(access, Some(renewal)),
            Err(error) => {
                tracing::warn!(%location, %error, "cannot renew the credentials of a folder");
                self.state().not_before = Instant::now().checked_add(RENEWAL_PAUSE);
            }
        }
    }
}

#[async_trait]
impl CredentialProvider for Grant {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.renew_if_due().await;
        let access = self.access();
        if access.expires_at_ms.is_some_and(|end| end <= now_ms()) {
            return Err(object_store::Error::Generic {
                store: "S3",
                source:
                    "the temporary credentials of the catalog have ended: run the statement again"
                        .into(),
            });
        }
        match (access.s3.access_key_id, access.s3.secret_access_key) {
            (Some(key_id), Some(secret_key)) => Ok(Arc::new(AwsCredential {
                key_id,
                secret_key,
                token: access.s3.session_token,
            })),
            _ => Err(object_store::Error::Generic {
                store: "S3",
                source: "the temporary credentials of the catalog are incomplete".into(),
            }),
        }
    }
}

impl Storage {
    /// [`Storage::grant`] of credentials that may be for reading only: they do not take the place of
    /// good ones of the same folder that this process can renew.
    ///
    /// # Errors
    /// As [`Storage::grant`].
    pub fn grant_unless_known(
        &self,
        access: StorageAccess,
        renewal: Option<Arc<dyn AccessRenewal>>,
    ) -> Result<()> {
        let folder = Location::parse(&access.location)?;
        let known = self
            .granted_bucket(&folder)
            .and_then(|bucket| bucket.grant_of(&folder.path));
        if known.is_some_and(|known| *known.folder() == folder.path && known.is_lasting()) {
            return Ok(());
        }
        self.grant(access, renewal)
    }
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn due_at_ms(access: &StorageAccess) -> Option<i64> {
    let end = access.expires_at_ms?;
    let left = end.saturating_sub(now_ms()).max(0);
    Some(end.saturating_sub(LONGEST_MARGIN_MS.min(left / 4)))
}

#[cfg(test)]
mod tests {
    use super::super::StorageConfig;
    use super::*;

    fn access(key: &str, ends_in_ms: i64) -> StorageAccess {
        StorageAccess {
            location: "s3://bucket/t".to_string(),
            s3: S3Config {
                access_key_id: Some(key.to_string()),
                secret_access_key: Some("the-secret".to_string()),
                ..S3Config::default()
            },
            expires_at_ms: Some(now_ms() + ends_in_ms),
        }
    }

    #[derive(Debug)]
    struct Fresh;

    #[async_trait]
    impl AccessRenewal for Fresh {
        async fn renew(&self) -> Result<Vec<StorageAccess>> {
            Ok(vec![access("fresh", 3_600_000)])
        }
    }

    async fn key(grant: &Grant) -> String {
        grant.get_credential().await.unwrap().key_id.clone()
    }

    #[tokio::test]
    async fn keys_are_renewed_when_they_end() {
        let grant = Grant::new(Path::from("t"), access("old", -1), Some(Arc::new(Fresh)));
        assert_eq!(key(&grant).await, "fresh");
        // Those of a plan do not replace keys that this process can renew.
        grant.update(access("of-a-plan", 7_200_000), None);
        assert_eq!(key(&grant).await, "fresh");
    }

    #[tokio::test]
    async fn keys_that_cannot_be_renewed_end() {
        let grant = Grant::new(Path::from("t"), access("old", -1), None);
        let error = grant.get_credential().await.unwrap_err().to_string();
        assert!(error.contains("have ended"), "{error}");
        grant.update(access("newer", 60_000), None);
        grant.update(access("older", 30_000), None);
        assert_eq!(key(&grant).await, "newer");
    }

    #[tokio::test]
    async fn lasting_keys_of_a_folder_stay_when_those_of_a_reader_come() {
        let storage = Storage::new(StorageConfig::default());
        let renewal = || Some(Arc::new(Fresh) as Arc<dyn AccessRenewal>);
        let known = || {
            let accesses = storage.accesses(["s3://bucket/t"]);
            accesses[0].s3.access_key_id.clone().unwrap()
        };
        storage.grant(access("ended", -1), renewal()).unwrap();
        let offer = |key: &str| storage.grant_unless_known(access(key, 3_600_000), renewal());
        offer("first-reader").unwrap();
        assert_eq!(known(), "first-reader");
        storage
            .grant(access("writer", 3_600_000), renewal())
            .unwrap();
        offer("second-reader").unwrap();
        assert_eq!(known(), "writer");
        // Those of a plan cannot be renewed here.
        storage
            .grant(
                StorageAccess {
                    location: "s3://bucket/u".to_string(),
                    ..access("of-a-plan", 3_600_000)
                },
                None,
            )
            .unwrap();
        let of_reader = StorageAccess {
            location: "s3://bucket/u".to_string(),
            ..access("third-reader", 3_600_000)
        };
        storage.grant_unless_known(of_reader, renewal()).unwrap();
        let accesses = storage.accesses(["s3://bucket/u"]);
        assert_eq!(
            accesses[0].s3.access_key_id.as_deref(),
            Some("third-reader")
        );
    }

    #[test]
    fn debug_shows_no_keys() {
        let shown = format!("{:?}", access("the-key", 0));
        assert!(
            !shown.contains("the-key") && !shown.contains("the-secret"),
            "{shown}"
        );
    }
}
