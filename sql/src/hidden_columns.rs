//! Hidden columns: what every table can tell about its rows beside its own columns.
//!
//! `"$path"` and the others are columns for whoever names them, and for nobody else: `*` does not
//! mean them. The planner knows no such columns. So a table whose hidden columns a query names
//! gets another name ([`RelationName::with_hidden_columns`](crate::RelationName)), under which it
//! has them as its last columns, and each `*` of the same `SELECT` leaves them out.

use std::ops::ControlFlow;

use sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, Statement, TableAlias, TableFactor,
    TableWithJoins, Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};

use crate::error::SqlError;
use crate::name::fold_identifier;
use crate::references::CteScopes;
use crate::relation::RelationName;

/// Location of the data file that the row is in.
pub const PATH_COLUMN: &str = "$path";
/// The file's partition, as `day=2026-01-31/country=IT`; empty in a table without partitions.
pub const PARTITION_COLUMN: &str = "$partition";
/// When the file was written, as the object store tells.
pub const FILE_MODIFIED_TIME_COLUMN: &str = "$file_modified_time";

/// The hidden columns, in the order in which a table has them.
pub const HIDDEN_COLUMNS: [&str; 3] = [PATH_COLUMN, PARTITION_COLUMN, FILE_MODIFIED_TIME_COLUMN];

/// Whether a statement names a hidden column anywhere.
pub fn mentions_hidden_columns(statement: &Statement) -> bool {
    let flow =
        sqlparser::ast::visit_expressions(statement, |expression| match mention_of(expression) {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        });
    flow.is_break()
}

/// Gives the tables of a statement their hidden columns where it names them. `hidden_columns_of`
/// tells which hidden columns a table has, by its name as it is written; a view or a table of
/// another kind has none.
///
/// # Errors
/// `Unsupported` for a `*` over several tables whose hidden columns are named, when the tables
/// are joined in a way that does not keep all of their columns apart.
pub fn expose_hidden_columns(
    statement: &mut Statement,
    hidden_columns_of: &dyn Fn(&ObjectName) -> Vec<&'static str>,
) -> Result<(), SqlError> {
    let mut resolver = Resolver {
        hidden_columns_of,
        ctes: CteScopes::default(),
        selects: Vec::new(),
        open: Vec::new(),
        factors: 0,
    };
    let _ = Visit::visit(&*statement, &mut resolver);
    let mut rewriter = Rewriter {
        selects: &resolver.selects,
        next_select: 0,
        next_factor: 0,
    };
    match VisitMut::visit(statement, &mut rewriter) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// A hidden column that an expression is.
#[derive(Debug, Clone)]
struct Mention {
    /// The parts before the column's name; empty for none.
    qualifier: Vec<String>,
    column: &'static str,
}

fn mention_of(expression: &Expr) -> Option<Mention> {
    let parts = match expression {
        Expr::Identifier(name) => std::slice::from_ref(name),
        Expr::CompoundIdentifier(parts) => parts.as_slice(),
        _ => return None,
    };
    let (name, qualifier) = parts.split_last()?;
    name.quote_style?;
    let column = HIDDEN_COLUMNS
        .into_iter()
        .find(|column| *column == name.value)?;
    Some(Mention {
        qualifier: qualifier.iter().map(fold_identifier).collect(),
        column,
    })
}

/// A table of a `FROM` clause that has hidden columns.
#[derive(Debug)]
struct Relation {
    /// Its number among all table factors of the statement.
    factor: usize,
    /// What its columns are qualified by: the alias, or the parts of its name.
    name: Vec<String>,
    hidden_columns: Vec<&'static str>,
    is_exposed: bool,
}

impl Relation {
    /// Whether `t`, `s.t` or `c.s.t` means this table.
    fn is_named(&self, qualifier: &[String]) -> bool {
        self.name.ends_with(qualifier) || qualifier.ends_with(&self.name)
    }
}

/// Where the walk through a statement is.
enum Place {
    /// In a `SELECT`, by its number.
    Select(usize),
    /// In a query, but in none of its `SELECT`s: for instance in `ORDER BY`.
    Query {
        /// The `SELECT` that is the query's body; none for `UNION` and the like.
        body: Option<usize>,
        selects: usize,
        own: Vec<Mention>,
        /// Those that tables of the query's own `SELECT`s do not have.
        from_within: Vec<Mention>,
    },
}

/// Finds out which tables the hidden columns named are of, as the planner will.
struct Resolver<'a> {
    hidden_columns_of: &'a dyn Fn(&ObjectName) -> Vec<&'static str>,
    ctes: CteScopes,
    /// Tables of each `SELECT`, and mentions that are not resolved yet.
    selects: Vec<(Vec<Relation>, Vec<Mention>)>,
    open: Vec<Place>,
    factors: usize,
}

impl Resolver<'_> {
    /// Marks the tables that a mention can mean; whether there are any.
    fn resolve(&mut self, mention: &Mention, select: usize) -> bool {
        let Some((relations, _)) = self.selects.get_mut(select) else {
            return false;
        };
        let meant = relations.iter_mut().filter(|relation| {
            relation.is_named(&mention.qualifier)
                && relation.hidden_columns.contains(&mention.column)
        });
        let mut is_resolved = false;
        for relation in meant {
            relation.is_exposed = true;
            is_resolved = true;
        }
        is_resolved
    }

    /// Hands mentions to the query or `SELECT` around.
    fn hand_out(&mut self, mentions: Vec<Mention>) {
        match self.open.last_mut() {
            Some(Place::Select(select)) => self.selects[*select].1.extend(mentions),
            Some(Place::Query { from_within, .. }) => from_within.extend(mentions),
            None => {}
        }
    }
}

impl Visitor for Resolver<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.ctes.enter(query);
        self.open.push(Place::Query {
            body: None,
            selects: 0,
            own: Vec::new(),
            from_within: Vec::new(),
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.ctes.leave();
        if let Some(Place::Query {
            body,
            selects,
            own,
            mut from_within,
        }) = self.open.pop()
        {
            let body = body.filter(|_| selects == 1);
            for mention in own {
                if !body.is_some_and(|select| self.resolve(&mention, select)) {
                    from_within.push(mention);
                }
            }
            self.hand_out(from_within);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, _select: &Select) -> ControlFlow<()> {
        let number = self.selects.len();
        self.selects.push((Vec::new(), Vec::new()));
        if let Some(Place::Query { body, selects, .. }) = self.open.last_mut() {
            *body = Some(number);
            *selects += 1;
        }
        self.open.push(Place::Select(number));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &Select) -> ControlFlow<()> {
        if let Some(Place::Select(select)) = self.open.pop() {
            let mentions = std::mem::take(&mut self.selects[select].1);
            let unresolved = mentions
                .into_iter()
                .filter(|mention| !self.resolve(mention, select));
            let unresolved = unresolved.collect();
            self.hand_out(unresolved);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let number = self.factors;
        self.factors += 1;
        if let Some(Place::Select(select)) = self.open.last()
            && let TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } = factor
            && let Some(parts) = crate::name::ObjectName::from_ast(name)
            && !(parts.parts.len() == 1 && self.ctes.contains(parts.object()))
            // Names for its columns are all the columns that it has then.
            && alias.as_ref().is_none_or(|alias| alias.columns.is_empty())
        {
            let hidden_columns = (self.hidden_columns_of)(name);
            if !hidden_columns.is_empty() {
                self.selects[*select].0.push(Relation {
                    factor: number,
                    name: match alias {
                        Some(alias) => vec![fold_identifier(&alias.name)],
                        None => parts.parts,
                    },
                    hidden_columns,
                    is_exposed: false,
                });
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Some(mention) = mention_of(expression) {
            match self.open.last_mut() {
                Some(Place::Select(select)) => self.selects[*select].1.push(mention),
                Some(Place::Query { own, .. }) => own.push(mention),
                None => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// Renames the tables and rewrites each `*`, in the order in which [`Resolver`] met them.
struct Rewriter<'a> {
    selects: &'a [(Vec<Relation>, Vec<Mention>)],
    next_select: usize,
    next_factor: usize,
}

impl VisitorMut for Rewriter<'_> {
    type Break = SqlError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        let relations = self.selects.get(self.next_select);
        self.next_select += 1;
        let exposed: Vec<&Relation> = relations
            .into_iter()
            .flat_map(|(relations, _)| relations)
            .filter(|relation| relation.is_exposed)
            .collect();
        match rewrite_wildcards(select, &exposed) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        let number = self.next_factor;
        self.next_factor += 1;
        let is_exposed = self
            .selects
            .iter()
            .flat_map(|(relations, _)| relations)
            .any(|relation| relation.factor == number && relation.is_exposed);
        if is_exposed
            && let TableFactor::Table { name, .. } = factor
            && let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut()
        {
            let written = fold_identifier(last);
            let relation =
                RelationName::parse(&written).unwrap_or_else(|_| RelationName::table(written));
            let encoded = RelationName {
                with_hidden_columns: true,
                ..relation
            };
            *last = Ident {
                value: encoded.encode(),
                quote_style: Some('"'),
                span: last.span,
            };
        }
        ControlFlow::Continue(())
    }
}

/// Makes each `*` of a `SELECT` leave out the hidden columns of the tables that have them.
fn rewrite_wildcards(select: &mut Select, exposed: &[&Relation]) -> Result<(), SqlError> {
    if exposed.is_empty() {
        return Ok(());
    }
    if exposed.len() > 1 {
        split_wildcards(select)?;
    }
    for item in &mut select.projection {
        match item {
            SelectItem::Wildcard(options) => {
                if let [relation] = exposed {
                    leave_out(options, &relation.hidden_columns);
                }
            }
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) => {
                let Some(name) = crate::name::ObjectName::from_ast(name) else {
                    continue;
                };
                let mut exposed = exposed.iter();
                if let Some(relation) = exposed.find(|relation| relation.is_named(&name.parts)) {
                    leave_out(options, &relation.hidden_columns);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Adds columns to those that a `*` leaves out.
fn leave_out(options: &mut WildcardAdditionalOptions, columns: &[&str]) {
    let mut names = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
    };
    let hidden = columns
        .iter()
        .map(|column| ObjectName::from(vec![Ident::with_quote('"', *column)]));
    names.extend(hidden);
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
}

/// Writes `*` as `a.*, b.*`: of several tables with hidden columns each must leave out its own.
fn split_wildcards(select: &mut Select) -> Result<(), SqlError> {
    let has_wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    if !select.projection.iter().any(has_wildcard) {
        return Ok(());
    }
    let unsupported = || {
        SqlError::unsupported(
            "* beside hidden columns of several tables that are joined like this (name the columns)",
            select.select_token.0.span.start,
        )
    };
    let names = names_in_order(&select.from).ok_or_else(unsupported)?;
    let mut projection = Vec::with_capacity(select.projection.len() + names.len());
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(options) if is_plain(options) => {
                let all = names.iter().map(|name| {
                    SelectItem::QualifiedWildcard(
                        SelectItemQualifiedWildcardKind::ObjectName(name.clone()),
                        WildcardAdditionalOptions::default(),
                    )
                });
                projection.extend(all);
            }
            SelectItem::Wildcard(_) => return Err(unsupported()),
            other => projection.push(other.clone()),
        }
    }
    select.projection = projection;
    Ok(())
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike: None,
        opt_exclude: None,
        opt_except: None,
        opt_replace: None,
        opt_rename: None,
        opt_alias: None,
    } = options
    else {
        return false;
    };
    true
}

/// What the columns of each joined relation are qualified by, in the order of `*`; `None` when
/// that does not give the columns of `*`.
fn names_in_order(from: &[TableWithJoins]) -> Option<Vec<ObjectName>> {
    let mut names = Vec::new();
    for table in from {
        names.extend(names_of_factor(&table.relation)?);
        for join in &table.joins {
            names.extend(names_of_join(join)?);
        }
    }
    Some(names)
}

fn names_of_join(join: &Join) -> Option<Vec<ObjectName>> {
    let constraint = match &join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => constraint,
        _ => return None,
    };
    match constraint {
        JoinConstraint::On(_) | JoinConstraint::None => names_of_factor(&join.relation),
        JoinConstraint::Using(_) | JoinConstraint::Natural => None,
    }
}

fn names_of_factor(factor: &TableFactor) -> Option<Vec<ObjectName>> {
    let of_alias = |alias: &TableAlias| vec![ObjectName::from(vec![alias.name.clone()])];
    match factor {
        TableFactor::Table {
            alias: None,
            name,
            args: None,
            ..
        } => Some(vec![name.clone()]),
        TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } => names_in_order(std::slice::from_ref(table_with_joins)),
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::NestedJoin {
            alias: Some(alias), ..
        }
        | TableFactor::UNNEST {
            alias: Some(alias), ..
        } => Some(of_alias(alias)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::GenericDialect;
    use sqlparser::parser::Parser;

    use super::*;

    /// The statement with its tables `a`, `b` and `s.c` exposed where that is due.
    fn exposed(sql: &str) -> Result<String, SqlError> {
        let mut statement = Parser::parse_sql(&GenericDialect {}, sql)
            .unwrap()
            .remove(0);
        expose_hidden_columns(&mut statement, &|name| match name.to_string().as_str() {
            "a" | "b" | "s.c" => HIDDEN_COLUMNS.to_vec(),
            "own" => vec![PARTITION_COLUMN, FILE_MODIFIED_TIME_COLUMN],
            _ => Vec::new(),
        })?;
        let text = statement.to_string();
        let excluded = r#"EXCLUDE ("$path", "$partition", "$file_modified_time")"#;
        Ok(text
            .replace(excluded, "VISIBLE")
            .replace(" WITH HIDDEN COLUMNS\"", "+\""))
    }

    fn check(sql: &str, expected: &str) {
        assert_eq!(exposed(sql).unwrap(), expected);
    }

    #[test]
    fn only_tables_whose_hidden_columns_are_named_have_them() {
        for unchanged in [
            "SELECT * FROM a",
            r#"SELECT "$path" FROM v"#,
            r#"WITH a AS (SELECT 1 AS x) SELECT *, "$path" FROM a"#,
            r#"SELECT *, "$path" FROM a AS t (x, y)"#,
            r#"SELECT *, "$path" FROM own"#,
            r#"SELECT x AS "$path" FROM a"#,
            r#"SELECT x FROM (SELECT * FROM a) AS d WHERE "$path" = ''"#,
        ] {
            check(unchanged, unchanged);
        }
        check(
            r#"SELECT *, "$path" FROM a"#,
            r#"SELECT * VISIBLE, "$path" FROM "a+""#,
        );
        check(
            r#"SELECT * FROM s.c ORDER BY "$path""#,
            r#"SELECT * VISIBLE FROM s."c+" ORDER BY "$path""#,
        );
        check(
            r#"SELECT c.*, x.* FROM s.c JOIN a AS x ON c."$path" = 'y'"#,
            r#"SELECT c.* VISIBLE, x.* FROM s."c+" JOIN a AS x ON c."$path" = 'y'"#,
        );
        check(
            r#"SELECT 1 FROM own GROUP BY "$partition""#,
            r#"SELECT 1 FROM "own+" GROUP BY "$partition""#,
        );
    }

    #[test]
    fn a_name_means_the_innermost_table() {
        check(
            r#"SELECT * FROM a WHERE EXISTS (SELECT * FROM b WHERE a."$path" = b.x)"#,
            r#"SELECT * VISIBLE FROM "a+" WHERE EXISTS (SELECT * FROM b WHERE a."$path" = b.x)"#,
        );
        check(
            r#"SELECT * FROM a WHERE EXISTS (SELECT * FROM b WHERE "$path" = x)"#,
            r#"SELECT * FROM a WHERE EXISTS (SELECT * VISIBLE FROM "b+" WHERE "$path" = x)"#,
        );
        check(
            r#"SELECT * FROM a WHERE x = (SELECT max("$path") FROM v)"#,
            r#"SELECT * VISIBLE FROM "a+" WHERE x = (SELECT max("$path") FROM v)"#,
        );
        check(
            r#"SELECT x FROM a UNION SELECT "$path" FROM b ORDER BY "$path""#,
            r#"SELECT x FROM a UNION SELECT "$path" FROM "b+" ORDER BY "$path""#,
        );
    }

    #[test]
    fn several_tables_leave_out_their_own() {
        check(
            r#"SELECT *, a."$path", c."$path" FROM a JOIN v ON x = y LEFT JOIN s.c ON true"#,
            r#"SELECT a.* VISIBLE, v.*, s.c.* VISIBLE, a."$path", c."$path" FROM "a+" JOIN v ON x = y LEFT JOIN s."c+" ON true"#,
        );
        let error = exposed(r#"SELECT *, a."$path", b."$path" FROM a JOIN b USING (x)"#);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("name the columns"), "{message}");
    }
}
