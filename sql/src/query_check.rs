//! What happens to a query between the parser and the planner.
//!
//! The planner takes no notice of many clauses that the parser knows (samples, hints, locks, table
//! versions): each of them would change the result without a word, so they are refused here. A few
//! spellings are rewritten to what the planner does understand.

use std::ops::ControlFlow;

use sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType, ExactNumberInfo, Expr, FunctionArguments, Ident,
    LimitClause, ObjectNamePart, Query, Select, SelectFlavor, SetExpr, Spanned, TableAlias,
    TableFactor, TimezoneInfo, Value, VisitMut, VisitorMut,
};
use sqlparser::tokenizer::Location;

use crate::chains::flatten_chain;
use crate::error::SqlError;
use crate::name::fold_identifier;
use crate::parser::Plannable;
use crate::references::CteScopes;
use crate::relation::RelationName;
use crate::table_changes::TableChanges;
use crate::time_travel::FoldedClause;

/// Checks and rewrites the queries of one statement.
pub(crate) struct QueryRules<'a> {
    clauses: &'a [FoldedClause],
    used: Vec<bool>,
    scopes: CteScopes,
}

impl<'a> QueryRules<'a> {
    /// Rules for a statement with these time-travel clauses.
    pub(crate) fn new(clauses: &'a [FoldedClause]) -> Self {
        Self {
            clauses,
            used: vec![false; clauses.len()],
            scopes: CteScopes::default(),
        }
    }

    /// Checks and rewrites one part of the statement.
    pub(crate) fn apply(&mut self, part: Plannable<'_>) -> Result<(), SqlError> {
        let flow = match part {
            Plannable::Query(query) => query.visit(self),
            Plannable::Statement(statement) => statement.visit(self),
            Plannable::Expression(expression) => expression.visit(self),
        };
        match flow {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// A time-travel clause that did not turn out to belong to a table.
    pub(crate) fn first_unused_clause(&self) -> Option<&'a FoldedClause> {
        self.clauses
            .iter()
            .zip(&self.used)
            .find_map(|(clause, used)| (!used).then_some(clause))
    }

    fn check_table(&mut self, factor: &mut TableFactor) -> Result<(), SqlError> {
        let location = factor.span().start;
        let TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            version,
            partitions,
            with_ordinality,
            json_path,
            sample,
            index_hints,
        } = factor
        else {
            return Ok(());
        };
        let ignored = [
            (version.is_some(), "this kind of table version"),
            (sample.is_some(), "TABLESAMPLE"),
            (!with_hints.is_empty(), "a table hint"),
            (!index_hints.is_empty(), "an index hint"),
            (!partitions.is_empty(), "PARTITION after a table's name"),
            (*with_ordinality, "WITH ORDINALITY"),
            (json_path.is_some(), "a path after a table's name"),
        ];
        refuse_present(&ignored, location)?;
        if args.is_some() {
            TableChanges::of(factor)?;
            return Ok(());
        }
        if name.0.len() > 3 {
            return Err(SqlError::syntax(
                format!("the table name {name} has too many parts, at most 3 are possible"),
                location,
            ));
        }
        let is_qualified = name.0.len() > 1;
        let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() else {
            return Err(SqlError::unsupported(
                "a function as a table's name",
                location,
            ));
        };
        let clause = self
            .clauses
            .iter()
            .position(|clause| clause.name_location == last.span.start);
        if let Some(index) = clause {
            let clause = &self.clauses[index];
            if !is_qualified && self.scopes.contains(&clause.table) {
                return Err(SqlError::invalid(
                    format!("time travel of '{}'", clause.table),
                    "it is a WITH query of this statement, put the clause on the tables in it",
                    clause.location,
                ));
            }
            self.used[index] = true;
            add_alias(alias, &clause.table);
            return Ok(());
        }
        let written = fold_identifier(last);
        let encoded = RelationName::from_identifier(&written).encode();
        if encoded != written {
            *last = Ident {
                value: encoded,
                quote_style: Some('"'),
                span: last.span,
            };
            add_alias(alias, &written);
        }
        Ok(())
    }
}

/// The columns of a table with a version are addressed by the table's name.
fn add_alias(alias: &mut Option<TableAlias>, table: &str) {
    if alias.is_none() {
        *alias = Some(TableAlias {
            explicit: true,
            name: Ident::with_quote('"', table),
            columns: vec![],
            at: None,
        });
    }
}

fn refuse_present(clauses: &[(bool, &str)], location: Location) -> Result<(), SqlError> {
    match clauses.iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(SqlError::unsupported(*what, location)),
        None => Ok(()),
    }
}

fn flow(result: Result<(), SqlError>) -> ControlFlow<SqlError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for QueryRules<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        self.scopes.enter(query);
        flow(check_query(query))
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<SqlError> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        flow(check_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        flow(rewrite_table_function(factor).and_then(|()| self.check_table(factor)))
    }

    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<SqlError> {
        flow(check_expression(expression))
    }
}

fn check_query(query: &mut Query) -> Result<(), SqlError> {
    let location = query.span().start;
    let ignored = [
        (!query.locks.is_empty(), "FOR UPDATE or FOR SHARE"),
        (query.for_clause.is_some(), "FOR XML, JSON or BROWSE"),
        (query.settings.is_some(), "SETTINGS"),
        (query.format_clause.is_some(), "FORMAT"),
        (!query.pipe_operators.is_empty(), "the pipe operator"),
    ];
    refuse_present(&ignored, location)?;
    let changes_rows = match query.body.as_ref() {
        SetExpr::Insert(_) => Some("INSERT"),
        SetExpr::Update(_) => Some("UPDATE"),
        SetExpr::Delete(_) => Some("DELETE"),
        SetExpr::Merge(_) => Some("MERGE"),
        _ => None,
    };
    if let Some(what) = changes_rows {
        return Err(SqlError::unsupported_but(
            format!("WITH before {what}"),
            format!("write WITH inside the query of {what}"),
            location,
        ));
    }
    if let SetExpr::Table(_) = query.body.as_ref() {
        return Err(SqlError::unsupported_but(
            "TABLE as a query",
            "write SELECT * FROM the table",
            location,
        ));
    }
    if let Some(with) = &query.with {
        for cte in &with.cte_tables {
            if cte.from.is_some() {
                return Err(SqlError::unsupported("FROM after a WITH query", location));
            }
        }
    }
    rewrite_fetch(query, location)
}

/// `FETCH FIRST n ROWS ONLY` is the standard's `LIMIT n`.
fn rewrite_fetch(query: &mut Query, location: Location) -> Result<(), SqlError> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.percent || fetch.with_ties {
        return Err(SqlError::unsupported(
            "FETCH FIRST with PERCENT or WITH TIES",
            location,
        ));
    }
    // Without a number it fetches one row.
    let count = fetch
        .quantity
        .unwrap_or_else(|| Expr::value(Value::Number("1".to_string(), false)));
    match &mut query.limit_clause {
        None => {
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: Some(count),
                offset: None,
                limit_by: vec![],
            });
            Ok(())
        }
        Some(LimitClause::LimitOffset {
            limit: limit @ None,
            ..
        }) => {
            *limit = Some(count);
            Ok(())
        }
        Some(_) => Err(SqlError::syntax(
            "LIMIT and FETCH FIRST exclude each other",
            location,
        )),
    }
}

fn check_select(select: &Select) -> Result<(), SqlError> {
    let ignored = [
        (select.into.is_some(), "SELECT INTO"),
        (select.top.is_some(), "TOP"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (select.select_modifiers.is_some(), "a modifier of SELECT"),
        (select.value_table_mode.is_some(), "SELECT AS"),
        (
            select.flavor != SelectFlavor::Standard,
            "FROM before SELECT",
        ),
    ];
    refuse_present(&ignored, select.span().start)
}

/// Trino calls table functions as `TABLE(f(x))`.
fn rewrite_table_function(factor: &mut TableFactor) -> Result<(), SqlError> {
    let location = factor.span().start;
    let unsupported = match factor {
        TableFactor::Table { .. } | TableFactor::NestedJoin { .. } => return Ok(()),
        TableFactor::UNNEST {
            with_ordinality: false,
            with_offset: false,
            ..
        } => return Ok(()),
        TableFactor::UNNEST { .. } => "WITH ORDINALITY",
        TableFactor::Derived { sample: None, .. } => return Ok(()),
        TableFactor::Derived { .. } => "TABLESAMPLE",
        TableFactor::Function {
            with_ordinality: false,
            ..
        } => return Ok(()),
        TableFactor::Function { .. } => "WITH ORDINALITY",
        TableFactor::TableFunction { expr, alias } => {
            let Expr::Function(function) = expr else {
                return Err(SqlError::unsupported(
                    "TABLE(…) of anything but a function",
                    location,
                ));
            };
            let FunctionArguments::List(arguments) = &function.args else {
                return Err(SqlError::unsupported(
                    "a table function without a list of arguments",
                    location,
                ));
            };
            *factor = TableFactor::Table {
                name: function.name.clone(),
                alias: alias.take(),
                args: Some(sqlparser::ast::TableFunctionArgs {
                    args: arguments.args.clone(),
                    settings: None,
                }),
                with_hints: vec![],
                version: None,
                partitions: vec![],
                with_ordinality: false,
                json_path: None,
                sample: None,
                index_hints: vec![],
            };
            return Ok(());
        }
        TableFactor::Pivot { .. } => "PIVOT",
        TableFactor::Unpivot { .. } => "UNPIVOT",
        TableFactor::MatchRecognize { .. } => "MATCH_RECOGNIZE",
        TableFactor::JsonTable { .. } | TableFactor::OpenJsonTable { .. } => "JSON_TABLE",
        TableFactor::XmlTable { .. } => "XMLTABLE",
        TableFactor::SemanticView { .. } => "SEMANTIC_VIEW",
    };
    Err(SqlError::unsupported(unsupported, location))
}

fn check_expression(expression: &mut Expr) -> Result<(), SqlError> {
    flatten_chain(expression)?;
    if let Expr::Value(value) = expression
        && let Value::Number(number, _) = &value.value
        && number.contains(['e', 'E'])
    {
        // A number with an exponent is a double; the planner would try to make it a decimal.
        *expression = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(Expr::value(Value::SingleQuotedString(number.clone()))),
            data_type: DataType::Double(ExactNumberInfo::None),
            array: false,
            format: None,
        };
        return Ok(());
    }
    match expression {
        Expr::Cast { data_type, .. }
        | Expr::Convert {
            data_type: Some(data_type),
            ..
        } => {
            microsecond_timestamps(data_type);
        }
        Expr::TypedString(typed) => {
            if let (
                DataType::Timestamp(_, zone @ TimezoneInfo::None),
                Value::SingleQuotedString(text),
            ) = (&mut typed.data_type, &typed.value.value)
                && has_time_zone(text)
            {
                *zone = TimezoneInfo::WithTimeZone;
            }
            microsecond_timestamps(&mut typed.data_type);
        }
        _ => {}
    }
    Ok(())
}

/// Whether a zone or an offset stands behind the time of a timestamp: `2026-01-31 12:00 UTC` is an
/// instant, as in Trino.
fn has_time_zone(timestamp: &str) -> bool {
    let Some((_, time)) = timestamp.trim().split_once([' ', 'T']) else {
        return false;
    };
    let is_time = |character: char| character.is_ascii_digit() || matches!(character, ':' | '.');
    !time.trim_start().trim_start_matches(is_time).is_empty()
}

/// A `TIMESTAMP` without a precision is microseconds here, nanoseconds in the planner.
fn microsecond_timestamps(data_type: &mut DataType) {
    match data_type {
        DataType::Timestamp(precision @ None, _) => *precision = Some(6),
        DataType::Datetime(precision @ None) => {
            *precision = Some(6);
            *data_type = DataType::Timestamp(Some(6), TimezoneInfo::None);
        }
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => microsecond_timestamps(element),
        DataType::Struct(fields, _) => {
            for field in fields {
                microsecond_timestamps(&mut field.field_type);
            }
        }
        DataType::Map(key, value) => {
            microsecond_timestamps(key);
            microsecond_timestamps(value);
        }
        _ => {}
    }
}
