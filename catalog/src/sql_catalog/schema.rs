//! The tables of the versioned catalog. Why they look like this:
//! `docs/decisions/0001-versioned-catalog.md`.

use crate::database::Migration;

/// The component's name in the migrations table.
pub(super) const COMPONENT: &str = "catalog";

/// The branch `main`, which readers see unless they ask for another one.
pub(super) const MAIN_REF: i64 = 1;

/// Every change of this list is a new entry: released ones are never edited.
pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "versioned catalog",
    statements: &[
        // The row of a catalog is also its commit lock: the update that takes the next
        // version number makes other committers wait until this one has ended.
        "CREATE TABLE catalogs (
            catalog_id BIGINT NOT NULL PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            last_version BIGINT NOT NULL
        )",
        // Branches and tags. A fork reads its parent as it was at fork_version, under
        // its own changes. A dropped reference keeps its row, without a name, because
        // versions made on it and forks of it still refer to it.
        "CREATE TABLE catalog_refs (
            catalog_id BIGINT NOT NULL REFERENCES catalogs (catalog_id),
            ref_id BIGINT NOT NULL,
            name TEXT,
            kind TEXT NOT NULL,
            head_version BIGINT NOT NULL,
            parent_ref_id BIGINT,
            fork_version BIGINT,
            created_at_ms BIGINT NOT NULL,
            PRIMARY KEY (catalog_id, ref_id),
            UNIQUE (catalog_id, name)
        )",
        // One row per commit.
        "CREATE TABLE catalog_versions (
            catalog_id BIGINT NOT NULL,
            version_id BIGINT NOT NULL,
            ref_id BIGINT NOT NULL,
            parent_version BIGINT,
            merged_version BIGINT,
            committed_at_ms BIGINT NOT NULL,
            author TEXT NOT NULL,
            message TEXT NOT NULL,
            PRIMARY KEY (catalog_id, version_id),
            FOREIGN KEY (catalog_id, ref_id) REFERENCES catalog_refs (catalog_id, ref_id)
        )",
        // What each commit changed: the log that merges and lineage read.
        "CREATE TABLE catalog_changes (
            catalog_id BIGINT NOT NULL,
            version_id BIGINT NOT NULL,
            schema_name TEXT NOT NULL,
            object_name TEXT NOT NULL,
            kind TEXT NOT NULL,
            old_content TEXT,
            new_content TEXT,
            PRIMARY KEY (catalog_id, version_id, schema_name, object_name)
        )",
        // The state of every branch at every version: a row holds from from_version
        // until just before to_version (NULL: still). For a table, content is the
        // location of its metadata file; for a schema, whose object_name is '', its
        // properties as JSON; NULL hides an object of the branch that was forked from.
        "CREATE TABLE catalog_objects (
            catalog_id BIGINT NOT NULL,
            ref_id BIGINT NOT NULL,
            schema_name TEXT NOT NULL,
            object_name TEXT NOT NULL,
            from_version BIGINT NOT NULL,
            to_version BIGINT,
            kind TEXT NOT NULL,
            content TEXT,
            PRIMARY KEY (catalog_id, ref_id, schema_name, object_name, from_version),
            FOREIGN KEY (catalog_id, ref_id) REFERENCES catalog_refs (catalog_id, ref_id)
        )",
        // Current states: one look-up per table, and never two for one name.
        "CREATE UNIQUE INDEX catalog_objects_live
            ON catalog_objects (catalog_id, ref_id, schema_name, object_name)
            WHERE to_version IS NULL",
    ],
}];

/// What an object is, as the `kind` columns store it.
pub(super) mod kind {
    /// A schema; its content is a JSON object of properties.
    pub(in super::super) const SCHEMA: &str = "schema";
    /// An Iceberg table; its content is a metadata location.
    pub(in super::super) const TABLE: &str = "table";
    /// An Iceberg view; its content is a metadata location.
    pub(in super::super) const VIEW: &str = "view";
    /// A branch that commits can go to.
    pub(in super::super) const BRANCH: &str = "branch";
    /// A state of its parent branch; nothing is committed to it.
    pub(in super::super) const TAG: &str = "tag";
    /// The hidden branch of a transaction. Its rows are deleted when the transaction ends.
    pub(in super::super) const TRANSACTION: &str = "transaction";
    /// A hidden branch that is being rolled back: nothing can be committed to it, and its
    /// rows go as soon as its files are deleted.
    pub(in super::super) const ROLLED_BACK: &str = "rolled back";
}

/// The `object_name` of a schema's own row. No table can have it.
pub(super) const SCHEMA_ROW: &str = "";
