//! Table maintenance: `ALTER TABLE … EXECUTE optimize | optimize_manifests | expire_snapshots |
//! remove_orphan_files | drop_extended_stats`, with Trino's names and parameters.

mod arguments;
mod optimize;
mod retention;

use ingot_catalog::commit;
use ingot_catalog::table::ident_name;
use ingot_sql::sqlparser::ast::Expr;

use self::arguments::Arguments;
pub(super) use self::retention::remove_abandoned_folders;
use super::context::StatementContext;
use super::ddl::done;
use super::statistics::drop_extended_stats;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::statement_catalogs::ResolvedTable;

const FILE_SIZE_THRESHOLD: &str = "file_size_threshold";
const SORTED_BY: &str = "sorted_by";
const ZORDER_BY: &str = "zorder_by";
const RETENTION_THRESHOLD: &str = "retention_threshold";
const RETAIN_LAST: &str = "retain_last";
const CLEAN_EXPIRED_METADATA: &str = "clean_expired_metadata";

/// One of these procedures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaintenanceProcedure {
    Optimize,
    OptimizeManifests,
    ExpireSnapshots,
    RemoveOrphanFiles,
    DropExtendedStats,
}

impl MaintenanceProcedure {
    pub(super) const ALL: [Self; 5] = [
        Self::Optimize,
        Self::OptimizeManifests,
        Self::ExpireSnapshots,
        Self::RemoveOrphanFiles,
        Self::DropExtendedStats,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Optimize => "optimize",
            Self::OptimizeManifests => "optimize_manifests",
            Self::ExpireSnapshots => "expire_snapshots",
            Self::RemoveOrphanFiles => "remove_orphan_files",
            Self::DropExtendedStats => "drop_extended_stats",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|procedure| procedure.name() == name)
    }

    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Optimize => &[FILE_SIZE_THRESHOLD, SORTED_BY, ZORDER_BY],
            Self::OptimizeManifests | Self::DropExtendedStats => &[],
            Self::ExpireSnapshots => &[RETENTION_THRESHOLD, RETAIN_LAST, CLEAN_EXPIRED_METADATA],
            Self::RemoveOrphanFiles => &[RETENTION_THRESHOLD],
        }
    }

    /// Executes it on a table. Only `optimize` has a condition.
    pub(super) async fn execute(
        self,
        context: &StatementContext,
        target: &ResolvedTable,
        arguments: &[(Option<String>, Expr)],
        condition: Option<&Expr>,
    ) -> Result<StatementOutcome> {
        let arguments = Arguments::bind(self.name(), self.parameters(), arguments)?;
        if condition.is_some() && self != Self::Optimize {
            return Err(CoordinatorError::Unsupported(format!(
                "WHERE after EXECUTE {}",
                self.name()
            )));
        }
        match self {
            Self::Optimize => optimize::optimize(context, target, &arguments, condition).await,
            Self::OptimizeManifests => optimize_manifests(target).await,
            Self::ExpireSnapshots => retention::expire_snapshots(context, target, &arguments).await,
            Self::RemoveOrphanFiles => {
                retention::remove_orphan_files(context, target, &arguments).await
            }
            Self::DropExtendedStats => drop_extended_stats(target).await,
        }
    }
}

async fn optimize_manifests(target: &ResolvedTable) -> Result<StatementOutcome> {
    let name = ident_name(&target.ident);
    let (_, report) = commit::optimize_manifests(target.catalog.as_ref(), &target.ident).await?;
    match report.replaced {
        0 => done("table", &name, "has its manifests in order"),
        replaced => done(
            "table",
            &name,
            format!("manifests optimized: {replaced} became {}", report.created),
        ),
    }
}
