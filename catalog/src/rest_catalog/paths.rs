//! Names in paths: schemas are the server's namespaces.

use iceberg::TableIdent;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failure::Failure;
use super::wire::Identifier;
use crate::error::{CatalogError, Result};
use crate::table::schema_of;

/// All but the unreserved characters of a URI (RFC 3986).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Between the levels of a nested namespace, in the names of schemas.
const LEVEL_SEPARATOR: char = '.';

/// Makes the paths of one catalog of a server, below `/v1/`.
#[derive(Clone)]
pub(super) struct Paths {
    /// Empty, or with a slash at its end. As the server gave it: escaped.
    prefix: String,
    /// Between the levels of a namespace in a path, escaped.
    path_separator: String,
    is_nested: bool,
}

impl Paths {
    pub(super) fn new(prefix: Option<&str>, path_separator: &str, is_nested: bool) -> Self {
        let prefix = prefix.unwrap_or_default().trim_matches('/');
        Self {
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            path_separator: path_separator.to_string(),
            is_nested,
        }
    }

    /// The same below another prefix, which is escaped.
    pub(super) fn below_prefix(&self, prefix: &str) -> Self {
        Self::new(Some(prefix), &self.path_separator, self.is_nested)
    }

    /// Whether namespaces within namespaces are schemas.
    pub(super) fn is_nested(&self) -> bool {
        self.is_nested
    }

    /// The levels of a schema's namespace.
    pub(super) fn levels(&self, schema: &str) -> Vec<String> {
        match self.is_nested {
            true => schema.split(LEVEL_SEPARATOR).map(str::to_string).collect(),
            false => vec![schema.to_string()],
        }
    }

    /// The schema that a namespace is; none if it has levels and they do not count, or if its name
    /// would be that of another one.
    pub(super) fn schema_name(&self, levels: &[String]) -> Option<String> {
        match levels {
            [] => None,
            [level] if !self.is_nested => Some(level.clone()),
            _ if !self.is_nested => None,
            levels if levels.iter().any(|level| level.contains(LEVEL_SEPARATOR)) => None,
            levels => Some(levels.join(".")),
        }
    }

    /// The name of a table or view in a body.
    pub(super) fn identifier(&self, ident: &TableIdent) -> Result<Identifier> {
        Ok(Identifier {
            namespace: self.levels(schema_of(ident)?),
            name: ident.name().to_string(),
        })
    }

    pub(super) fn namespaces(&self) -> String {
        format!("{}namespaces", self.prefix)
    }

    pub(super) fn namespace(&self, schema: &str) -> Result<String> {
        let levels = self.levels(schema);
        let levels = levels.iter().map(|level| segment("schema", level));
        let levels: Vec<String> = levels.collect::<Result<_>>()?;
        Ok(format!(
            "{}namespaces/{}",
            self.prefix,
            levels.join(self.path_separator.as_str())
        ))
    }

    /// Something below a schema: `properties`, `tables`, `views`, `register`.
    pub(super) fn below(&self, schema: &str, what: &str) -> Result<String> {
        Ok(format!("{}/{what}", self.namespace(schema)?))
    }

    pub(super) fn table(&self, ident: &TableIdent) -> Result<String> {
        let tables = self.below(schema_of(ident)?, "tables")?;
        Ok(format!("{tables}/{}", segment("table", ident.name())?))
    }

    pub(super) fn view(&self, ident: &TableIdent) -> Result<String> {
        let views = self.below(schema_of(ident)?, "views")?;
        Ok(format!("{views}/{}", segment("view", ident.name())?))
    }

    /// Something of the catalog: `tables/rename`, `views/rename`, `transactions/commit`.
    pub(super) fn of_catalog(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }

    /// The `parent` parameter of a listing.
    pub(super) fn parent(&self, levels: &[String]) -> Result<String, Failure> {
        // Parameters are escaped when they are put into the URI.
        let separator = percent_encoding::percent_decode_str(&self.path_separator)
            .decode_utf8()
            .map_err(|error| Failure::Unreadable {
                reason: format!("its namespace-separator: {error}"),
            })?;
        Ok(levels.join(&*separator))
    }
}

/// A text as a part of a path.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A name as one segment of a path.
fn segment(what: &str, name: &str) -> Result<String> {
    // Those with dots alone would be taken out of the path, escaped or not.
    if name.is_empty() || name == "." || name == ".." || name.chars().any(char::is_control) {
        return Err(CatalogError::InvalidInput(format!(
            "{what} name {name:?} is not one that a rest catalog can have: choose another name"
        )));
    }
    Ok(escaped(name))
}

#[cfg(test)]
mod tests {
    use iceberg::NamespaceIdent;

    use super::*;

    fn ident(schema: &str, name: &str) -> TableIdent {
        TableIdent::new(NamespaceIdent::new(schema.to_string()), name.to_string())
    }

    #[test]
    fn names_are_escaped() {
        let paths = Paths::new(Some("ware%7Chouse"), "%1F", false);
        let path = paths.table(&ident("a.b", "t/../x y%ü")).unwrap();
        assert_eq!(
            path,
            "ware%7Chouse/namespaces/a.b/tables/t%2F..%2Fx%20y%25%C3%BC"
        );
        for name in ["", ".", "..", "a\nb"] {
            assert!(paths.view(&ident("s", name)).is_err(), "{name:?}");
        }
        let paths = Paths::new(None, "%1F", false);
        assert_eq!(paths.namespace("s").unwrap(), "namespaces/s");
    }

    #[test]
    fn nested_namespaces_are_schemas_only_where_they_are_wanted() {
        let levels = ["a".to_string(), "b".to_string()];
        let plain = Paths::new(None, "%1F", false);
        assert_eq!(plain.schema_name(&levels), None);
        assert_eq!(plain.schema_name(&levels[..1]), Some("a".to_string()));
        let nested = Paths::new(None, "%1F", true);
        assert_eq!(nested.schema_name(&levels), Some("a.b".to_string()));
        assert_eq!(nested.levels("a.b"), levels);
        assert_eq!(nested.namespace("a.b").unwrap(), "namespaces/a%1Fb");
        assert_eq!(nested.parent(&levels).unwrap(), "a\u{1f}b");
        // It could not be told from a.b.
        assert_eq!(nested.schema_name(&["a.b".to_string()]), None);
    }
}
