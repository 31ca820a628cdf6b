//! What is known about the values of one column in a file or a group of files, and whether
//! a condition can hold given that.

use std::cmp::Ordering;

use super::filter::{Comparison, Condition};
use super::transforms::Mapping;
use super::values::Comparable;

/// What is known about a column's values, or about the partition values made from them.
/// "Can be" is true unless the contrary is certain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Evidence {
    /// Some value can be null.
    pub(super) can_be_null: bool,
    /// Some value can be NaN. Always false for columns that are not floats.
    pub(super) can_be_nan: bool,
    /// Some value can be neither null nor NaN.
    pub(super) can_be_ordinary: bool,
    /// At most every ordinary value, if known.
    pub(super) lower: Option<Comparable>,
    /// At least every ordinary value, if known.
    pub(super) upper: Option<Comparable>,
    /// All ordinary values equal `lower`, which equals `upper`.
    pub(super) is_single_value: bool,
}

impl Evidence {
    /// A value that all rows share; `None` is null.
    pub(super) fn single(value: Option<Comparable>) -> Self {
        let is_nan = value.as_ref().is_some_and(Comparable::is_nan);
        let ordinary = value.clone().filter(|_| !is_nan);
        Self {
            can_be_null: value.is_none(),
            can_be_nan: is_nan,
            can_be_ordinary: ordinary.is_some(),
            is_single_value: ordinary.is_some(),
            lower: ordinary.clone(),
            upper: ordinary,
        }
    }

    /// The same evidence with what is uncertain about floats taken into account: NaN
    /// bounds say nothing, and zeros count as equal whatever their sign.
    pub(super) fn with_float_rules(mut self) -> Self {
        let positive_zero = |bound: &Comparable| matches!(bound, Comparable::Float(0.0));
        self.lower = self.lower.filter(|bound| !bound.is_nan());
        self.upper = self.upper.filter(|bound| !bound.is_nan());
        if self.lower.as_ref().is_some_and(positive_zero) {
            self.lower = Some(Comparable::Float(-0.0));
            self.is_single_value = false;
        }
        if self.upper.as_ref().is_some_and(positive_zero) {
            self.upper = Some(Comparable::Float(0.0));
            self.is_single_value = false;
        }
        self
    }

    /// The same evidence with the uncertainties of a partition transform taken into account.
    pub(super) fn with_transform_rules(mut self, mapping: &Mapping) -> Self {
        if !mapping.is_identity() {
            if mapping.may_be_rounded_up()
                && let Some(Comparable::Integer(lower)) = &mut self.lower
                && *lower <= 0
            {
                *lower -= 1;
            }
            if let Some(limit) = mapping.wraps_above()
                && let Some(Comparable::Integer(upper)) = &self.upper
                && *upper > limit
            {
                self.lower = None;
            }
        }
        self
    }

    /// Whether a row can satisfy the condition on the column, given this evidence about
    /// the partition values that `mapping` makes from it.
    pub(super) fn may_match(&self, condition: &Condition, mapping: &Mapping) -> bool {
        match condition {
            Condition::IsNull => self.can_be_null,
            Condition::NotNull => self.can_be_nan || self.can_be_ordinary,
            Condition::IsNan => self.can_be_nan,
            Condition::NotNan => self.can_be_null || self.can_be_ordinary,
            Condition::Compare(comparison, value) => self.may_compare(*comparison, value, mapping),
            Condition::In(values) => self.can_be_ordinary && self.may_be_one_of(values, mapping),
            Condition::NotIn(values) => {
                let value = self.shared_value(mapping);
                value.is_none_or(|value| values.iter().all(|other| other != value))
            }
            Condition::StartsWith(prefix) => {
                self.can_be_ordinary && self.may_start_with(prefix, mapping)
            }
            Condition::NotStartsWith(prefix) => !self.all_start_with(prefix, mapping),
        }
    }

    /// The value of the column in every row, if that is certain.
    fn shared_value(&self, mapping: &Mapping) -> Option<&Comparable> {
        let is_certain =
            self.is_single_value && !self.can_be_null && !self.can_be_nan && mapping.is_identity();
        self.lower.as_ref().filter(|_| is_certain)
    }

    fn may_compare(&self, comparison: Comparison, value: &Comparable, mapping: &Mapping) -> bool {
        // In total order a NaN is greater than every number, or less if its sign is set.
        let nan_matches = self.can_be_nan && comparison != Comparison::Equal;
        match comparison {
            Comparison::NotEqual => self.shared_value(mapping) != Some(value),
            _ if nan_matches => true,
            _ if !self.can_be_ordinary => false,
            Comparison::Equal => self.may_equal(value, mapping),
            Comparison::Less | Comparison::LessOrEqual if mapping.keeps_order() => {
                let (limit, is_inclusive) = match (comparison, value) {
                    (Comparison::Less, Comparable::Integer(value)) => {
                        (Comparable::Integer(value.saturating_sub(1)), true)
                    }
                    (Comparison::Less, _) => (value.clone(), !mapping.is_identity()),
                    _ => (value.clone(), true),
                };
                let limit = mapping.apply(&limit);
                is_possible(self.lower.as_ref(), limit.as_ref(), is_inclusive)
            }
            Comparison::Greater | Comparison::GreaterOrEqual if mapping.keeps_order() => {
                let (limit, is_inclusive) = match (comparison, value) {
                    (Comparison::Greater, Comparable::Integer(value)) => {
                        (Comparable::Integer(value.saturating_add(1)), true)
                    }
                    (Comparison::Greater, _) => (value.clone(), !mapping.is_identity()),
                    _ => (value.clone(), true),
                };
                let limit = mapping.apply(&limit);
                is_possible(limit.as_ref(), self.upper.as_ref(), is_inclusive)
            }
            _ => true,
        }
    }

    fn may_equal(&self, value: &Comparable, mapping: &Mapping) -> bool {
        let value = mapping.apply(value);
        is_possible(self.lower.as_ref(), value.as_ref(), true)
            && is_possible(value.as_ref(), self.upper.as_ref(), true)
    }

    fn may_be_one_of(&self, values: &[Comparable], mapping: &Mapping) -> bool {
        if !mapping.is_identity() {
            return values.iter().any(|value| self.may_equal(value, mapping));
        }
        // The values are sorted: look at the first that is not below the lower bound.
        let first = match &self.lower {
            None => 0,
            Some(lower) => {
                values.partition_point(|value| value.compare(lower) == Some(Ordering::Less))
            }
        };
        values
            .get(first)
            .is_some_and(|value| is_possible(Some(value), self.upper.as_ref(), true))
    }

    fn may_start_with(&self, prefix: &[u8], mapping: &Mapping) -> bool {
        if !mapping.keeps_order() {
            return true;
        }
        let value = Comparable::Bytes(prefix.to_vec());
        if mapping.cuts(prefix) {
            return self.may_equal(&value, mapping);
        }
        let upper_allows = is_possible(Some(&value), self.upper.as_ref(), true);
        let lower_allows = match &self.lower {
            Some(Comparable::Bytes(lower)) => {
                lower.as_slice() <= prefix || lower.starts_with(prefix)
            }
            _ => true,
        };
        upper_allows && lower_allows
    }

    fn all_start_with(&self, prefix: &[u8], mapping: &Mapping) -> bool {
        let is_certain = self.is_single_value
            && !self.can_be_null
            && mapping.keeps_order()
            && !mapping.cuts(prefix);
        match &self.lower {
            Some(Comparable::Bytes(value)) if is_certain => value.starts_with(prefix),
            _ => false,
        }
    }
}

/// Whether `lesser <= greater` (or `<`), or is not known to be false.
fn is_possible(
    lesser: Option<&Comparable>,
    greater: Option<&Comparable>,
    is_inclusive: bool,
) -> bool {
    let (Some(lesser), Some(greater)) = (lesser, greater) else {
        return true;
    };
    match lesser.compare(greater) {
        Some(Ordering::Greater) => false,
        Some(Ordering::Equal) => is_inclusive,
        Some(Ordering::Less) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{PrimitiveType, Transform};

    use super::*;

    fn text(value: &str) -> Comparable {
        Comparable::Bytes(value.as_bytes().to_vec())
    }

    /// Whether rows of a partition with this value may compare so with a literal.
    fn may_compare(
        transform: Transform,
        source_type: PrimitiveType,
        partition_value: Comparable,
        comparison: Comparison,
        literal: Comparable,
    ) -> bool {
        let mapping = Mapping::new(transform, source_type).unwrap();
        Evidence::single(Some(partition_value))
            .with_float_rules()
            .with_transform_rules(&mapping)
            .may_match(&Condition::Compare(comparison, literal), &mapping)
    }

    #[test]
    fn truncated_texts_hide_what_was_cut() {
        let less = |literal: &str| {
            let transform = Transform::Truncate(2);
            let literal = text(literal);
            may_compare(
                transform,
                PrimitiveType::String,
                text("ab"),
                Comparison::Less,
                literal,
            )
        };
        assert!(less("abc"), "abb is in the partition");
        assert!(!less("aa"));
        let greater = |literal: &str| {
            let transform = Transform::Truncate(2);
            let literal = text(literal);
            may_compare(
                transform,
                PrimitiveType::String,
                text("ab"),
                Comparison::Greater,
                literal,
            )
        };
        assert!(greater("abz"), "abzz is in the partition");
        assert!(!greater("ac"));
    }

    #[test]
    fn a_day_ends_before_midnight() {
        const DAY: i128 = 86_400_000_000;
        let may = |day: i128, comparison: Comparison, micros: i128| {
            let literal = Comparable::Integer(micros);
            let day = Comparable::Integer(day);
            may_compare(
                Transform::Day,
                PrimitiveType::Timestamp,
                day,
                comparison,
                literal,
            )
        };
        assert!(!may(20, Comparison::Less, 20 * DAY));
        assert!(may(20, Comparison::LessOrEqual, 20 * DAY));
        assert!(may(20, Comparison::Greater, 21 * DAY - 2));
        assert!(!may(20, Comparison::Greater, 21 * DAY - 1));
        assert!(!may(20, Comparison::GreaterOrEqual, 21 * DAY));
    }

    /// Early Java writers recorded 1969-12-31 12:00 as day 0.
    #[test]
    fn old_writers_rounded_days_before_1970_up() {
        let noon_before = Comparable::Integer(-43_200_000_000);
        for (day, expected) in [(-1, true), (0, true), (1, false), (-2, false)] {
            let may = may_compare(
                Transform::Day,
                PrimitiveType::Timestamp,
                Comparable::Integer(day),
                Comparison::Equal,
                noon_before.clone(),
            );
            assert_eq!(may, expected, "day {day}");
        }
    }

    #[test]
    fn truncated_integers_may_have_wrapped_around() {
        // -2147483648 truncated to tens is -2147483650, which wraps to 2147483646.
        let lowest = Comparable::Integer(i128::from(i32::MIN));
        let wrapped = Comparable::Integer(2_147_483_646);
        for comparison in [Comparison::Equal, Comparison::Less, Comparison::LessOrEqual] {
            let literal = match comparison {
                Comparison::Equal => lowest.clone(),
                _ => Comparable::Integer(0),
            };
            let transform = Transform::Truncate(10);
            assert!(may_compare(
                transform,
                PrimitiveType::Int,
                wrapped.clone(),
                comparison,
                literal
            ));
        }
    }
}
