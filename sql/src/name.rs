//! Names of catalogs, schemas and tables, folded as the dialect says.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlparser::ast;
use sqlparser::keywords::{
    ALL_KEYWORDS, ALL_KEYWORDS_INDEX, Keyword, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER,
    RESERVED_FOR_TABLE_ALIAS,
};

/// A name of one to three parts, `[[catalog.]schema.]object`: unquoted parts are folded to lower
/// case, quoted parts are kept as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// The parts, outermost first; never empty.
    pub parts: Vec<String>,
}

impl ObjectName {
    /// A name of these parts, taken as they are.
    pub fn new<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Self {
        Self {
            parts: parts.into_iter().map(Into::into).collect(),
        }
    }

    /// The last part: the object's own name.
    pub fn object(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }

    /// The schema part, when written.
    pub fn schema(&self) -> Option<&str> {
        let index = self.parts.len().checked_sub(2)?;
        self.parts.get(index).map(String::as_str)
    }

    /// The catalog part, when written.
    pub fn catalog(&self) -> Option<&str> {
        let index = self.parts.len().checked_sub(3)?;
        self.parts.get(index).map(String::as_str)
    }

    /// Catalog, schema and object, missing parts taken from the session.
    pub fn resolve(&self, default_catalog: &str, default_schema: &str) -> (String, String, String) {
        (
            self.catalog().unwrap_or(default_catalog).to_string(),
            self.schema().unwrap_or(default_schema).to_string(),
            self.object().to_string(),
        )
    }

    /// Folds a name of the parser library. `None` when a part is not an identifier.
    pub fn from_ast(name: &ast::ObjectName) -> Option<Self> {
        let parts = name
            .0
            .iter()
            .map(|part| part.as_ident().map(fold_identifier))
            .collect::<Option<Vec<_>>>()?;
        Some(Self { parts })
    }

    /// The same name for the parser library and the planner, every part quoted.
    pub fn to_ast(&self) -> ast::ObjectName {
        ast::ObjectName::from(
            self.parts
                .iter()
                .map(|part| ast::Ident::with_quote('"', part))
                .collect::<Vec<_>>(),
        )
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                formatter.write_str(".")?;
            }
            formatter.write_str(&quote_identifier(part))?;
        }
        Ok(())
    }
}

/// A column, or a field nested in one: `address.city`. Below an array is `element`, below a map
/// `value`, as in Iceberg's own full names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnPath {
    /// Names from the column down; never empty.
    pub parts: Vec<String>,
}

impl fmt::Display for ColumnPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted: Vec<String> = self
            .parts
            .iter()
            .map(|part| quote_identifier(part))
            .collect();
        formatter.write_str(&quoted.join("."))
    }
}

/// The value of an identifier: lower case unless quoted.
pub fn fold_identifier(identifier: &ast::Ident) -> String {
    match identifier.quote_style {
        Some(_) => identifier.value.clone(),
        None => identifier.value.to_lowercase(),
    }
}

/// Writes an identifier so that it parses back to the same value: bare where that is certain.
pub(crate) fn quote_identifier(value: &str) -> String {
    let mut characters = value.chars();
    let is_plain = characters
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || first == '_')
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !is_reserved(value);
    if is_plain {
        value.to_string()
    } else {
        format!("\"{}\"", value.replace('"', "\"\""))
    }
}

/// Whether the word means something else at some place where a name may stand.
fn is_reserved(value: &str) -> bool {
    let upper = value.to_uppercase();
    let Ok(index) = ALL_KEYWORDS.binary_search(&upper.as_str()) else {
        return false;
    };
    let Some(keyword) = ALL_KEYWORDS_INDEX.get(index) else {
        return true;
    };
    RESERVED_FOR_COLUMN_ALIAS.contains(keyword)
        || RESERVED_FOR_TABLE_ALIAS.contains(keyword)
        || RESERVED_FOR_IDENTIFIER.contains(keyword)
        || matches!(
            *keyword,
            Keyword::NOT | Keyword::NULL | Keyword::CASE | Keyword::CAST
        )
}
