//! Trino's functions that the planner knows in another spelling.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, Value, VisitMut, VisitorMut,
};
use sqlparser::parser::Parser;

use super::columns::function_name;
use crate::dialect::IngotDialect;

/// Name, number of arguments, and the same with the arguments as `$1`, `$2`, ….
const SPELLINGS: &[(&str, usize, &str)] = &[
    ("year", 1, "date_part('year', $1)"),
    ("quarter", 1, "date_part('quarter', $1)"),
    ("month", 1, "date_part('month', $1)"),
    ("week", 1, "date_part('week', $1)"),
    ("week_of_year", 1, "date_part('week', $1)"),
    ("year_of_week", 1, "date_part('isoyear', $1)"),
    ("yow", 1, "date_part('isoyear', $1)"),
    ("day", 1, "date_part('day', $1)"),
    ("day_of_month", 1, "date_part('day', $1)"),
    ("day_of_week", 1, "date_part('isodow', $1)"),
    ("dow", 1, "date_part('isodow', $1)"),
    ("day_of_year", 1, "date_part('doy', $1)"),
    ("doy", 1, "date_part('doy', $1)"),
    ("hour", 1, "date_part('hour', $1)"),
    ("minute", 1, "date_part('minute', $1)"),
    ("second", 1, "date_part('second', $1)"),
    ("millisecond", 1, "date_part('millisecond', $1) % 1000"),
    (
        "to_unixtime",
        1,
        "date_part('epoch', CAST($1 AS timestamp(6) with time zone))",
    ),
    ("date", 1, "CAST($1 AS date)"),
    ("date_format", 2, "mysql_date_format($1, $2)"),
    ("element_at", 2, "array_or_map_element($1, $2)"),
    ("if", 2, "CASE WHEN $1 THEN $2 END"),
    ("if", 3, "CASE WHEN $1 THEN $2 ELSE $3 END"),
    ("rand", 0, "random()"),
    ("is_nan", 1, "isnan($1)"),
    ("truncate", 1, "trunc($1)"),
    ("levenshtein_distance", 2, "levenshtein($1, $2)"),
    ("every", 1, "bool_and($1)"),
    ("count_if", 1, "count(*) FILTER (WHERE $1)"),
    (
        "arbitrary",
        1,
        "first_value($1) FILTER (WHERE $1 IS NOT NULL)",
    ),
    (
        "any_value",
        1,
        "first_value($1) FILTER (WHERE $1 IS NOT NULL)",
    ),
    (
        "max_by",
        2,
        "first_value($1 ORDER BY $2 DESC) FILTER (WHERE $2 IS NOT NULL)",
    ),
    (
        "min_by",
        2,
        "first_value($1 ORDER BY $2) FILTER (WHERE $2 IS NOT NULL)",
    ),
    (
        "approx_percentile",
        2,
        "approx_percentile_cont($2) WITHIN GROUP (ORDER BY $1)",
    ),
];

/// Those of them that are aggregates.
const AGGREGATES: [&str; 7] = [
    "any_value",
    "approx_percentile",
    "arbitrary",
    "count_if",
    "every",
    "max_by",
    "min_by",
];

/// Trino's functions that are known by their spelling alone: name, and whether it is an aggregate.
pub fn trino_functions() -> impl Iterator<Item = (&'static str, bool)> {
    let mut names: Vec<&str> = SPELLINGS.iter().map(|(name, _, _)| *name).collect();
    names.extend(["row", "try"]);
    names.sort_unstable();
    names.dedup();
    let names = names.into_iter();
    names.map(|name| (name, AGGREGATES.contains(&name)))
}

/// Puts the planner's spelling in the place of a call.
pub(super) fn rewrite(expression: &mut Expr) {
    let Expr::Function(call) = expression else {
        return;
    };
    let Some(name) = function_name(&call.name) else {
        return;
    };
    if name == "row" && call.over.is_none() {
        call.name = Ident::new("struct").into();
        return;
    }
    let Some(arguments) = plain_arguments(call) else {
        return;
    };
    if name == "try" {
        if let [Expr::Cast { .. }] = arguments.as_slice() {
            *expression = try_cast(arguments);
        }
        return;
    }
    let spelling = SPELLINGS
        .iter()
        .find(|(known, count, _)| *known == name && *count == arguments.len());
    let filter = call.filter.take();
    let written = spelling.and_then(|(_, _, template)| fill(template, arguments));
    let Some(mut written) = written else {
        call.filter = filter;
        return;
    };
    if let (Some(filter), Expr::Function(function)) = (filter, &mut written) {
        function.filter = Some(match function.filter.take() {
            None => filter,
            Some(own) => Box::new(Expr::BinaryOp {
                left: Box::new(Expr::Nested(own)),
                op: BinaryOperator::And,
                right: Box::new(Expr::Nested(filter)),
            }),
        });
    }
    *expression = written;
}

/// The arguments of a call that has nothing else but perhaps a filter.
fn plain_arguments(call: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let is_plain = call.over.is_none()
        && call.null_treatment.is_none()
        && call.within_group.is_empty()
        && matches!(call.parameters, FunctionArguments::None)
        && list.duplicate_treatment.is_none()
        && list.clauses.is_empty();
    if !is_plain {
        return None;
    }
    let arguments = list.args.iter();
    arguments
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => Some(expression.clone()),
            _ => None,
        })
        .collect()
}

fn try_cast(arguments: Vec<Expr>) -> Expr {
    let mut arguments = arguments;
    let mut inner = arguments.swap_remove(0);
    if let Expr::Cast { kind, .. } = &mut inner {
        *kind = CastKind::TryCast;
    }
    inner
}

/// The expression of a template with these arguments.
fn fill(template: &str, arguments: Vec<Expr>) -> Option<Expr> {
    let mut parser = Parser::new(&IngotDialect).try_with_sql(template).ok()?;
    let mut expression = parser.parse_expr().ok()?;
    let _ = expression.visit(&mut Fill { arguments });
    Some(expression)
}

struct Fill {
    arguments: Vec<Expr>,
}

impl VisitorMut for Fill {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expression
            && let Value::Placeholder(name) = &value.value
            && let Ok(position) = name.trim_start_matches('$').parse::<usize>()
            && let Some(argument) = position.checked_sub(1).and_then(|i| self.arguments.get(i))
        {
            *expression = match argument {
                Expr::BinaryOp { .. } => Expr::Nested(Box::new(argument.clone())),
                other => other.clone(),
            };
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let mut parser = Parser::new(&IngotDialect).try_with_sql(text).unwrap();
        let mut expression = parser.parse_expr().unwrap();
        rewrite(&mut expression);
        expression.to_string()
    }

    #[test]
    fn every_template_is_an_expression() {
        for (name, count, template) in SPELLINGS {
            let arguments = vec![Expr::Identifier(Ident::new("x")); *count];
            let filled = fill(template, arguments).unwrap().to_string();
            assert!(!filled.contains('$'), "{name}: {filled}");
        }
    }

    #[test]
    fn calls_keep_their_arguments_and_filters() {
        for (text, expected) in [
            ("year(a)", "date_part('year', a)"),
            ("if(a, b, c)", "CASE WHEN a THEN b ELSE c END"),
            ("if(a, b)", "CASE WHEN a THEN b END"),
            (
                "max_by(a, b + 1) FILTER (WHERE c OR d)",
                "first_value(a ORDER BY (b + 1) DESC) FILTER (WHERE ((b + 1) IS NOT NULL) AND (c OR d))",
            ),
            (
                "count_if(a) FILTER (WHERE b)",
                "count(*) FILTER (WHERE (a) AND (b))",
            ),
            ("row(1, 'a')", "struct(1, 'a')"),
            ("try(CAST(a AS integer))", "TRY_CAST(a AS INTEGER)"),
            // Parameters of the statement are not those of the template.
            ("if($2, $1, $3)", "CASE WHEN $2 THEN $1 ELSE $3 END"),
            ("year(a, b)", "year(a, b)"),
            ("max_by(DISTINCT a, b)", "max_by(DISTINCT a, b)"),
            ("\"Year\"(a)", "\"Year\"(a)"),
        ] {
            assert_eq!(rewritten(text), expected, "{text}");
        }
    }
}
