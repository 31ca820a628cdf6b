//! `START TRANSACTION`, `COMMIT`, `ROLLBACK`.

use std::sync::Arc;

use super::context::StatementContext;
use crate::error::{CoordinatorError, Result};
use crate::service::StatementOutcome;
use crate::transactions::{ABANDONED_AFTER, OpenTransaction};

/// Begins a transaction of the session, in its catalog and on its branch.
pub(super) async fn start(context: &StatementContext) -> Result<StatementOutcome> {
    if context.session.transaction.is_some() {
        return Err(already_open());
    }
    let catalog = context.catalogs.catalog(None)?;
    let opened = OpenTransaction::begin(&catalog).await?;
    let mut is_taken = false;
    let updated = context
        .core
        .sessions
        .update(&context.session_id, |session| match session.transaction {
            None => session.transaction = Some(Arc::clone(&opened)),
            // Another statement of the session was faster.
            Some(_) => is_taken = true,
        });
    if updated.is_err() || is_taken {
        opened.roll_back().await;
        updated?;
        return Err(already_open());
    }
    // Those of coordinators that died. On a task of its own: this session has nothing to do
    // with them.
    tokio::spawn(async move {
        if let Ok(versioned) = catalog.versioned()
            && let Err(error) = versioned.roll_back_abandoned(ABANDONED_AFTER).await
        {
            tracing::warn!(%error, "cannot roll back transactions that were abandoned");
        }
    });
    done("transaction started".to_owned())
}

/// Publishes what the session's transaction did.
pub(super) async fn commit(context: &StatementContext) -> Result<StatementOutcome> {
    let changed = take(context)?.commit().await?;
    done(match changed.len() {
        0 => "transaction committed, nothing had changed".to_owned(),
        _ => format!("transaction committed: {}", changed.join(", ")),
    })
}

/// Undoes what the session's transaction did.
pub(super) async fn roll_back(context: &StatementContext) -> Result<StatementOutcome> {
    take(context)?.roll_back().await;
    done("transaction rolled back".to_owned())
}

/// Refuses a statement that would not be part of the session's transaction.
pub(super) fn refuse_inside(context: &StatementContext, what: &str) -> Result<()> {
    match context.session.transaction {
        Some(_) => Err(CoordinatorError::Unsupported(format!(
            "{what} inside a transaction (commit or roll back first)"
        ))),
        None => Ok(()),
    }
}

/// Takes the transaction out of the session: whatever comes of it, it is over.
fn take(context: &StatementContext) -> Result<Arc<OpenTransaction>> {
    let mut taken = None;
    let sessions = &context.core.sessions;
    sessions.update(&context.session_id, |session| {
        taken = session.transaction.take();
    })?;
    taken.ok_or_else(|| {
        CoordinatorError::FailedPrecondition(
            "no transaction is open: START TRANSACTION begins one".to_owned(),
        )
    })
}

fn already_open() -> CoordinatorError {
    CoordinatorError::FailedPrecondition(
        "a transaction is open already: COMMIT or ROLLBACK it first".to_owned(),
    )
}

fn done(message: String) -> Result<StatementOutcome> {
    Ok(StatementOutcome::Done { message })
}
