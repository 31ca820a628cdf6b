//! Leaving out manifests and files that cannot hold a matching row.

use std::borrow::Cow;
use std::collections::HashMap;

use iceberg::spec::{DataFile, Datum, FieldSummary, ManifestFile, PrimitiveType, Transform};

use super::evidence::Evidence;
use super::files::ResolvedSpec;
use super::filter::{Filter, Leaf};
use super::transforms::Mapping;
use super::values::Comparable;

/// Whether a manifest can hold a file with a matching row, by what the manifest list says
/// about its partition values.
pub(super) fn manifest_may_match(
    filter: &Filter,
    manifest: &ManifestFile,
    resolved: &ResolvedSpec,
) -> bool {
    let Some(summaries) = &manifest.partitions else {
        return true;
    };
    filter.may_match(&mut |leaf| {
        let fields = resolved.spec.fields().iter().zip(&resolved.types);
        fields
            .zip(summaries)
            .filter(|((field, _), _)| field.source_id == leaf.field_id)
            .all(|((field, result_type), summary)| {
                partition_allows(leaf, field.transform, result_type.as_ref(), |value_type| {
                    summary_evidence(summary, value_type)
                })
            })
    })
}

/// Whether a manifest has no live file, as far as it is counted.
pub(super) fn manifest_is_empty(manifest: &ManifestFile) -> bool {
    !manifest.has_added_files() && !manifest.has_existing_files()
}

/// Whether a data file can hold a matching row, by its partition values and its metrics.
pub(super) fn file_may_match(filter: &Filter, file: &DataFile, resolved: &ResolvedSpec) -> bool {
    if file.record_count() == 0 {
        return false;
    }
    filter.may_match(&mut |leaf| {
        partition_may_match(leaf, file, resolved) && metrics_may_match(leaf, file)
    })
}

/// Whether a file's partition values allow a row to satisfy the condition.
fn partition_may_match(leaf: &Leaf, file: &DataFile, resolved: &ResolvedSpec) -> bool {
    let fields = resolved.spec.fields().iter().zip(&resolved.types);
    fields
        .zip(file.partition().fields())
        .filter(|((field, _), _)| field.source_id == leaf.field_id)
        .all(|((field, result_type), literal)| {
            partition_allows(leaf, field.transform, result_type.as_ref(), |value_type| {
                let value = match literal {
                    None => None,
                    Some(literal) => {
                        let literal = literal.as_primitive_literal()?;
                        let literal_type = stored_type(&literal, value_type)?;
                        Some(Comparable::new(&literal, &literal_type, value_type)?)
                    }
                };
                Some(Evidence::single(value))
            })
        })
}

/// The type that a literal of a column of type `value_type` was stored with: that type, or
/// one that was promoted to it.
fn stored_type<'a>(
    literal: &iceberg::spec::PrimitiveLiteral,
    value_type: &'a PrimitiveType,
) -> Option<Cow<'a, PrimitiveType>> {
    use iceberg::spec::PrimitiveLiteral as Literal;
    if value_type.compatible(literal) {
        return Some(Cow::Borrowed(value_type));
    }
    match (value_type, literal) {
        (PrimitiveType::Long, Literal::Int(_)) => Some(Cow::Owned(PrimitiveType::Int)),
        (PrimitiveType::Double, Literal::Float(_)) => Some(Cow::Owned(PrimitiveType::Float)),
        _ => None,
    }
}

/// Whether the partition values of one field of a spec allow a row to satisfy the
/// condition. `evidence_of` gives what is known about the values, of a given type.
fn partition_allows(
    leaf: &Leaf,
    transform: Transform,
    result_type: Option<&PrimitiveType>,
    evidence_of: impl FnOnce(&PrimitiveType) -> Option<Evidence>,
) -> bool {
    let allows = || {
        let mapping = Mapping::new(transform, leaf.field_type.clone())?;
        let evidence = evidence_of(result_type?)?
            .with_float_rules()
            .with_transform_rules(&mapping);
        Some(evidence.may_match(&leaf.condition, &mapping))
    };
    allows().unwrap_or(true)
}

/// What a manifest list's summary says about the partition values of one field.
fn summary_evidence(summary: &FieldSummary, value_type: &PrimitiveType) -> Option<Evidence> {
    let bound = |bytes: Option<&[u8]>| {
        let datum = Datum::try_from_bytes(bytes?, value_type.clone()).ok()?;
        Comparable::new(datum.literal(), datum.data_type(), value_type)
    };
    let lower_bytes = summary.lower_bound.as_ref().map(|bytes| bytes.as_ref());
    let upper_bytes = summary.upper_bound.as_ref().map(|bytes| bytes.as_ref());
    let has_no_bounds = lower_bytes.is_none() && upper_bytes.is_none();
    let is_float = is_float(value_type);
    let is_ordered = has_certain_order(value_type);
    Some(Evidence {
        can_be_null: summary.contains_null,
        can_be_nan: is_float && summary.contains_nan != Some(false),
        // Without bounds there are only nulls and NaNs; if it has no nulls either,
        // somebody left the bounds out.
        can_be_ordinary: !(has_no_bounds && summary.contains_null),
        lower: bound(lower_bytes).filter(|_| is_ordered),
        upper: bound(upper_bytes).filter(|_| is_ordered),
        is_single_value: false,
    })
}

/// Whether a file's column metrics allow a row to satisfy the condition.
fn metrics_may_match(leaf: &Leaf, file: &DataFile) -> bool {
    let count = |counts: &HashMap<i32, u64>| counts.get(&leaf.field_id).copied();
    let bound = |bounds: &HashMap<i32, Datum>| {
        let datum = bounds.get(&leaf.field_id)?;
        Comparable::new(datum.literal(), datum.data_type(), &leaf.field_type)
            .filter(|_| has_certain_order(&leaf.field_type))
    };
    let value_count = count(file.value_counts());
    // Writers differ on whether a null struct makes nulls of the fields within it.
    let null_count = count(file.null_value_counts()).filter(|_| leaf.is_top_level);
    let nan_count = count(file.nan_value_counts());
    let is_float = is_float(&leaf.field_type);
    let nulls_and_nans = match (null_count, nan_count) {
        (Some(nulls), Some(nans)) if is_float => nulls.checked_add(nans),
        (nulls, _) => nulls,
    };
    let evidence = Evidence {
        can_be_null: null_count != Some(0),
        can_be_nan: is_float
            && nan_count != Some(0)
            && (null_count.is_none() || null_count != value_count),
        can_be_ordinary: nulls_and_nans.is_none() || nulls_and_nans != value_count,
        lower: bound(file.lower_bounds()),
        upper: bound(file.upper_bounds()),
        is_single_value: false,
    };
    let mapping = Mapping::identity(leaf.field_type.clone());
    evidence
        .with_float_rules()
        .may_match(&leaf.condition, &mapping)
}

fn is_float(value_type: &PrimitiveType) -> bool {
    matches!(value_type, PrimitiveType::Float | PrimitiveType::Double)
}

/// Whether all writers order the type's values alike. Java's UUIDs compare as signed
/// numbers, the specification's as unsigned bytes, so that bounds of UUIDs mean nothing.
fn has_certain_order(value_type: &PrimitiveType) -> bool {
    !matches!(value_type, PrimitiveType::Uuid)
}
