//! [`SqlCatalog`] as a [`VersionedCatalog`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::SqlCatalog;
use crate::catalog::Catalog;
use crate::error::Result;
use crate::versioned::{
    CatalogLogEntry, CatalogReference, CatalogReferenceInfo, CatalogReferenceKind,
    CatalogTransaction, MergeReport, VersionedCatalog,
};

#[async_trait]
impl VersionedCatalog for SqlCatalog {
    async fn at(&self, reference: &CatalogReference) -> Result<Arc<dyn Catalog>> {
        let mut connection = self.inner.connection().await?;
        let position = self.inner.position_of(&mut connection, reference).await?;
        Ok(Arc::new(Self {
            inner: Arc::new(self.inner.at_position(position)),
        }))
    }

    fn by_author(&self, author: &str) -> Arc<dyn Catalog> {
        let mut inner = self.inner.as_ref().clone();
        inner.options.author = author.to_string();
        Arc::new(Self {
            inner: Arc::new(inner),
        })
    }

    async fn create_reference(
        &self,
        kind: CatalogReferenceKind,
        name: &str,
        from: Option<&CatalogReference>,
    ) -> Result<CatalogReferenceInfo> {
        self.inner.create_reference(kind, name, from).await
    }

    async fn drop_reference(&self, kind: CatalogReferenceKind, name: &str) -> Result<()> {
        self.inner.drop_reference(kind, name).await
    }

    async fn merge_branch(&self, branch: &str, target: &str) -> Result<MergeReport> {
        self.inner.merge_branch(branch, target).await
    }

    async fn references(&self) -> Result<Vec<CatalogReferenceInfo>> {
        self.inner.public_references().await
    }

    async fn log(&self, limit: usize) -> Result<Vec<CatalogLogEntry>> {
        self.inner.newest_versions(limit).await
    }

    async fn begin_transaction(&self) -> Result<Arc<dyn CatalogTransaction>> {
        Ok(Arc::new(self.inner.begin_transaction().await?))
    }

    async fn roll_back_abandoned(&self, min_age: Duration) -> Result<usize> {
        self.inner.roll_back_abandoned(min_age).await
    }
}
