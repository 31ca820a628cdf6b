//! `EXCEPT ALL` and `INTERSECT ALL`.
//!
//! The planner makes joins of both that do not count rows. With the copies of each row numbered,
//! no two rows are the same, and counting is the same as `EXCEPT` and `INTERSECT` of the numbered
//! rows: of three copies on the left and one on the right, the second and the third stay.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Query, SetExpr, SetOperator, SetQuantifier, TableFactor, VisitMut, VisitorMut,
};
use sqlparser::parser::Parser;

use crate::dialect::IngotDialect;

/// Alias of a subquery in `FROM` whose rows are to be numbered: the planner gives it, behind its
/// own columns, [`COPY_COLUMN`].
pub const NUMBERED_COPIES: &str = "$numbered copies";

/// The column that counts the copies of each row, from 1.
pub const COPY_COLUMN: &str = "$copy";

/// Rewrites the operations of a query's own; those of subqueries come with them.
pub(super) fn rewrite(body: &mut SetExpr) {
    let SetExpr::SetOperation {
        op,
        set_quantifier,
        left,
        right,
    } = body
    else {
        return;
    };
    rewrite(left);
    rewrite(right);
    let operation = match op {
        SetOperator::Except | SetOperator::Minus => "EXCEPT",
        SetOperator::Intersect => "INTERSECT",
        SetOperator::Union => return,
    };
    if *set_quantifier != SetQuantifier::All {
        return;
    }
    let numbered = format!("SELECT * FROM (SELECT 1) AS \"{NUMBERED_COPIES}\"");
    let text = format!(
        "SELECT * EXCLUDE (\"{COPY_COLUMN}\") FROM ({numbered} {operation} {numbered}) AS counted"
    );
    let Some(mut query) = parse(&text) else {
        return;
    };
    let empty = SetExpr::Values(sqlparser::ast::Values {
        explicit_row: false,
        value_keyword: false,
        rows: vec![],
    });
    let left = std::mem::replace(left.as_mut(), empty.clone());
    let right = std::mem::replace(right.as_mut(), empty);
    let _ = query.visit(&mut Fill {
        sides: vec![right, left],
    });
    *body = SetExpr::Query(query);
}

fn parse(text: &str) -> Option<Box<Query>> {
    let mut parser = Parser::new(&IngotDialect).try_with_sql(text).ok()?;
    parser.parse_query().ok()
}

/// Puts the two sides into the template, in its order.
struct Fill {
    /// The last comes first.
    sides: Vec<SetExpr>,
}

impl VisitorMut for Fill {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived {
            subquery,
            alias: Some(alias),
            ..
        } = factor
            && alias.name.value == NUMBERED_COPIES
            && let Some(side) = self.sides.pop()
        {
            *subquery.body = side;
        }
        ControlFlow::Continue(())
    }
}
