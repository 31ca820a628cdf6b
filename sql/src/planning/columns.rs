//! Names of the columns of queries.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    DataType, ExactNumberInfo, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SetExpr, Value, VisitMut, VisitorMut,
};

use super::{functions, spellings};
use crate::name::fold_identifier;

/// One column of a query's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// Its alias, the name of the column that it is, or else the text of its expression.
    pub name: String,
    /// Whether the name is one that the user gave, or a column's.
    pub is_named: bool,
}

/// The columns of a query's result, as far as its text says them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputColumns {
    /// All columns, or those before the first `*`.
    pub first: Vec<OutputColumn>,
    /// The columns after the last `*`; `None` without one.
    pub last: Option<Vec<OutputColumn>>,
}

impl OutputColumns {
    /// The column at a position of the result, if its text says which it is. `planned` are the
    /// names that the planner has.
    pub fn all(&self, planned: &[&str]) -> Vec<OutputColumn> {
        let is_complete = self.last.is_some() || self.first.len() == planned.len();
        let first = match is_complete {
            true => self.first.as_slice(),
            false => &[],
        };
        let last = self.last.as_deref().unwrap_or_default();
        let last_begins = planned.len().saturating_sub(last.len());
        let columns = planned.iter().enumerate();
        columns
            .map(|(index, planned)| {
                let said = match index.checked_sub(last_begins) {
                    Some(index) if self.last.is_some() => last.get(index),
                    _ => first.get(index),
                };
                said.cloned().unwrap_or_else(|| OutputColumn {
                    name: (*planned).to_string(),
                    is_named: true,
                })
            })
            .collect()
    }
}

/// The names that a query's result has for the user.
pub fn output_columns(query: &Query) -> OutputColumns {
    let Some(select) = first_select(&query.body) else {
        return OutputColumns::default();
    };
    let is_open = |item: &SelectItem| !matches!(item_kind(item), ItemKind::One);
    let items = &select.projection;
    match items.iter().position(is_open) {
        None => OutputColumns {
            first: items.iter().filter_map(column_of).collect(),
            last: None,
        },
        Some(first_open) => {
            let last_open = items.iter().rposition(is_open).unwrap_or(first_open);
            OutputColumns {
                first: items[..first_open].iter().filter_map(column_of).collect(),
                last: Some(
                    items[last_open + 1..]
                        .iter()
                        .filter_map(column_of)
                        .collect(),
                ),
            }
        }
    }
}

/// The `SELECT` that names the columns of a query.
fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// How many columns an item of a `SELECT` list is.
enum ItemKind {
    One,
    Unknown,
}

fn item_kind(item: &SelectItem) -> ItemKind {
    match item {
        SelectItem::UnnamedExpr(Expr::Function(function))
            if is_function(&function.name, "unnest") =>
        {
            ItemKind::Unknown
        }
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => ItemKind::One,
        _ => ItemKind::Unknown,
    }
}

fn column_of(item: &SelectItem) -> Option<OutputColumn> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(OutputColumn {
            name: fold_identifier(alias),
            is_named: true,
        }),
        SelectItem::UnnamedExpr(expression) => Some(match column_name(expression) {
            Some(name) => OutputColumn {
                name,
                is_named: true,
            },
            None => OutputColumn {
                name: text_of(expression),
                is_named: false,
            },
        }),
        _ => None,
    }
}

/// The name of the column, or the field of a row, that an expression is.
fn column_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Identifier(name) => Some(fold_identifier(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(fold_identifier),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

/// Gives the later of result columns with equal names names of their own: the planner takes no
/// two columns of one name.
pub(super) fn name_output(query: &mut Query) {
    name_branches(&mut query.body, Branch::First);
}

/// Which of the queries of a `UNION` (`EXCEPT`, `INTERSECT`) a `SELECT` is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Branch {
    /// The one that names the columns, or the only one.
    First,
    /// Another: nobody sees its names. The planner gives its expressions those of the first, which
    /// may be names of its columns, too.
    Other,
}

fn name_branches(body: &mut SetExpr, branch: Branch) {
    match body {
        SetExpr::Select(select) => name_duplicates(select, branch),
        // What it is ordered by must be found by its own name.
        SetExpr::Query(query) if query.order_by.is_some() => {
            name_branches(&mut query.body, Branch::First);
        }
        SetExpr::Query(query) => name_branches(&mut query.body, branch),
        SetExpr::SetOperation { left, right, .. } => {
            name_branches(left, branch);
            name_branches(right, Branch::Other);
        }
        _ => {}
    }
}

fn name_duplicates(select: &mut Select, branch: Branch) {
    let is_open = select
        .projection
        .iter()
        .any(|item| matches!(item_kind(item), ItemKind::Unknown));
    // What `DISTINCT` rows are ordered by must be found among them by its own name.
    let hides_columns = is_open && select.distinct.is_none();
    let mut seen = SeenNames::default();
    for (index, item) in select.projection.iter_mut().enumerate() {
        if matches!(item_kind(item), ItemKind::Unknown) {
            continue;
        }
        let (key, text) = match item {
            SelectItem::ExprWithAlias { alias, .. } => (Key::Alone(fold_identifier(alias)), None),
            SelectItem::UnnamedExpr(expression) => {
                let is_column = column_name(expression).is_some();
                (
                    Key::of(expression),
                    (!is_column).then(|| text_of(expression)),
                )
            }
            _ => continue,
        };
        let is_unnamed_column = text.is_none() && matches!(item, SelectItem::UnnamedExpr(_));
        let own_name = || format!("{}:{}", key.name(), index + 1);
        let name = match text {
            _ if seen.contains(&key) => Some(own_name()),
            None => (is_unnamed_column && hides_columns).then(own_name),
            Some(_) if branch == Branch::Other => Some(own_name()),
            Some(text) => is_open.then_some(text),
        };
        seen.insert(key);
        if let Some(name) = name {
            rename(item, name);
        }
    }
}

/// Gives columns of a subquery in `FROM`, or of a `WITH` query, that have no name the text of
/// their expressions, by which a `*` around them shows them.
pub(super) fn name_columns(query: &mut Query) {
    name_unnamed(&mut query.body);
}

fn name_unnamed(body: &mut SetExpr) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return name_unnamed(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            name_unnamed(left);
            // Only the first of several queries names columns.
            return name_branches(right, Branch::Other);
        }
        _ => return,
    };
    let mut seen = SeenNames::default();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expression) = item else {
            continue;
        };
        let key = Key::of(expression);
        let is_known = seen.contains(&key);
        let text = text_of(expression);
        let is_column = column_name(expression).is_some();
        seen.insert(key);
        if !is_known && !is_column && matches!(item_kind(item), ItemKind::One) {
            rename(item, text);
        }
    }
}

fn rename(item: &mut SelectItem, name: String) {
    let expr = match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
        _ => return,
    };
    *item = SelectItem::ExprWithAlias {
        expr,
        alias: Ident::with_quote('"', name),
    };
}

/// What makes two columns the same for the planner: the name, and where both have one, what it is
/// a part of.
enum Key {
    /// A column, or a field of one: `t.id`, `t.place.city`.
    Path(Vec<String>),
    /// A column without its table, or the text of an expression.
    Alone(String),
}

impl Key {
    fn of(expression: &Expr) -> Self {
        match expression {
            // The planner's name of an expression does not tell what type it is converted to.
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => Self::of(inner),
            Expr::CompoundIdentifier(parts) => {
                Self::Path(parts.iter().map(fold_identifier).collect())
            }
            Expr::Identifier(name) => Self::Alone(fold_identifier(name)),
            other => Self::Alone(key_text(other)),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Path(parts) => parts.last().map_or("", String::as_str),
            Self::Alone(name) => name,
        }
    }
}

#[derive(Default)]
struct SeenNames {
    paths: Vec<Vec<String>>,
    alone: HashSet<String>,
}

impl SeenNames {
    fn contains(&self, key: &Key) -> bool {
        let is_alone = self.alone.contains(key.name());
        let mut paths = self.paths.iter();
        match key {
            // `place.city` may be `t.place.city`.
            Key::Path(path) => {
                is_alone || paths.any(|other| other.ends_with(path) || path.ends_with(other))
            }
            Key::Alone(name) => is_alone || paths.any(|path| path.last() == Some(name)),
        }
    }

    fn insert(&mut self, key: Key) {
        match key {
            Key::Path(path) => self.paths.push(path),
            Key::Alone(name) => {
                self.alone.insert(name);
            }
        }
    }
}

/// An expression as it was written, on one line, names in lower case.
fn text_of(expression: &Expr) -> String {
    let mut shown = expression.clone();
    let _ = shown.visit(&mut AsWritten { for_key: false });
    shown.to_string()
}

/// The same for expressions that the planner would call the same.
fn key_text(expression: &Expr) -> String {
    let mut shown = expression.clone();
    let _ = shown.visit(&mut AsWritten { for_key: true });
    shown.to_string()
}

/// Takes back what the parser rewrote (see `query_check`), and folds names.
struct AsWritten {
    /// Whether spellings of the same are made equal.
    for_key: bool,
}

impl VisitorMut for AsWritten {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        match expression {
            Expr::Identifier(name) => fold(name),
            Expr::CompoundIdentifier(names) => names.iter_mut().for_each(fold),
            Expr::Function(function) => fold_name(&mut function.name),
            Expr::TypedString(typed) if self.for_key => {
                *expression = Expr::Value(typed.value.clone());
            }
            Expr::TypedString(typed) => plain_timestamp(&mut typed.data_type),
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } if self.for_key => {
                *expression = (**inner).clone();
            }
            Expr::Cast {
                expr, data_type, ..
            } => {
                if let (Expr::Value(value), DataType::Double(ExactNumberInfo::None)) =
                    (expr.as_ref(), &*data_type)
                    && let Value::SingleQuotedString(number) = &value.value
                    && number.starts_with(|first: char| first.is_ascii_digit() || first == '.')
                    && number.contains(['e', 'E'])
                {
                    *expression = Expr::value(Value::Number(number.clone(), false));
                    return ControlFlow::Continue(());
                }
                plain_timestamp(data_type);
            }
            _ => {}
        }
        if self.for_key {
            if is_subquery(expression) {
                *expression = Expr::Identifier(Ident::new("<subquery>"));
            }
            spellings::rewrite(expression);
            functions::rewrite(expression);
        }
        ControlFlow::Continue(())
    }
}

/// Whether the planner's name of an expression does not tell which query is in it.
fn is_subquery(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. }
    )
}

fn fold(name: &mut Ident) {
    if name.quote_style.is_none() {
        name.value = name.value.to_lowercase();
    }
}

fn fold_name(name: &mut ObjectName) {
    for part in &mut name.0 {
        if let ObjectNamePart::Identifier(part) = part {
            fold(part);
        }
    }
}

/// A timestamp without a precision was given one of six digits.
fn plain_timestamp(data_type: &mut DataType) {
    if let DataType::Timestamp(precision @ Some(6), _) = data_type {
        *precision = None;
    }
}

pub(super) fn is_function(name: &ObjectName, wanted: &str) -> bool {
    function_name(name).is_some_and(|name| name == wanted)
}

/// The name of a function in lower case, if it is of one part.
pub(super) fn function_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(fold_identifier(name)),
        _ => None,
    }
}
