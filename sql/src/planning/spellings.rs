//! Spellings of the dialect that the planner does not take.

use sqlparser::ast::{
    AccessExpr, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, Query, SetExpr, UnaryOperator, Value,
};

use crate::name::fold_identifier;

/// Rewrites one expression, whose parts are rewritten already.
pub(super) fn rewrite(expression: &mut Expr) {
    match expression {
        Expr::Value(value) => {
            if let Value::UnicodeStringLiteral(text) = &mut value.value {
                value.value = Value::SingleQuotedString(std::mem::take(text));
            }
        }
        // The planner would give it nanoseconds, and read it in that zone.
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => {
            let arguments = vec![timestamp.as_ref().clone(), time_zone.as_ref().clone()];
            *expression = function_call("at_timezone", arguments);
        }
        // In `tags[1].field` the planner wants the field's name as text.
        Expr::CompoundFieldAccess { access_chain, .. } => {
            for access in access_chain {
                if let AccessExpr::Dot(field) = access
                    && let Expr::Identifier(name) = field
                {
                    *field = Expr::value(Value::SingleQuotedString(fold_identifier(name)));
                }
            }
        }
        _ => {}
    }
}

/// A call of a function with nothing but arguments.
pub fn function_call(name: &str, arguments: Vec<Expr>) -> Expr {
    let arguments = arguments.into_iter();
    let arguments = arguments.map(|value| FunctionArg::Unnamed(FunctionArgExpr::Expr(value)));
    Expr::Function(Function {
        name: Ident::new(name).into(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// Where a column of `VALUES` has a double, other numbers in it become doubles: the planner would
/// make all of them decimals.
pub(super) fn rewrite_values(query: &mut Query) {
    let SetExpr::Values(values) = query.body.as_mut() else {
        return;
    };
    let width = values.rows.first().map_or(0, |row| row.len());
    for column in 0..width {
        let is_double_column = values
            .rows
            .iter()
            .any(|row| row.get(column).is_some_and(is_double));
        if !is_double_column {
            continue;
        }
        for row in &mut values.rows {
            if let Some(value) = row.get_mut(column)
                && is_number(value)
            {
                *value = to_double(value.clone());
            }
        }
    }
}

/// Whether an expression is written as a double: `1e0`, `-1e0`, `CAST(… AS double)`.
fn is_double(expression: &Expr) -> bool {
    match expression {
        Expr::Cast { data_type, .. } => matches!(data_type, DataType::Double(_)),
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => is_double(expr),
        _ => false,
    }
}

fn is_number(expression: &Expr) -> bool {
    match expression {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => is_number(expr),
        _ => false,
    }
}

fn to_double(expression: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expression),
        data_type: DataType::Double(ExactNumberInfo::None),
        array: false,
        format: None,
    }
}
