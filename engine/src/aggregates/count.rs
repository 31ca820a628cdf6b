//! `count`, as in DataFusion but for `count(DISTINCT …)` of strings and other non-integers.
//!
//! DataFusion 55.2 keeps one pre-sized hash set per group and aggregate for these types
//! (about 12 kB each, not accounted for), so two distinct counts over two million groups take
//! over 24 GB. Here all groups share one hash table. Upstream: datafusion pull requests 24857
//! and 24859 and issue 21087; this module can go when they are released.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::count::Count;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};

use super::distinct_groups::DistinctCountGroups;

/// The function, under DataFusion's name, to be registered over DataFusion's own.
pub fn count_udaf() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(IngotCount::default()))
}

#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct IngotCount {
    inner: Count,
}

/// Types whose equality in a shared table is that of DataFusion's sets. Integers have a shared
/// table upstream; floats differ in how they treat zeros and NaNs, so they stay upstream too.
fn counts_distinct(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Boolean
        | DataType::Decimal128(_, _) => true,
        other => other.is_temporal() && !matches!(other, DataType::Interval(_)),
    }
}

impl AggregateUDFImpl for IngotCount {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, argument_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(argument_types)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(arguments)
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        let shared_table = arguments.is_distinct
            && arguments.expr_fields.len() == 1
            && counts_distinct(arguments.expr_fields[0].data_type());
        shared_table || self.inner.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match arguments.expr_fields {
            [field] if arguments.is_distinct && counts_distinct(field.data_type()) => {
                Ok(Box::new(DistinctCountGroups::try_new(field.data_type())?))
            }
            _ => self.inner.create_groups_accumulator(arguments),
        }
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs,
    ) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(arguments)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(statistics)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray,
    };
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::config::SessionConfig;
    use datafusion::prelude::SessionContext;

    use super::*;

    /// A small deterministic generator: the tests need variety, not quality.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, bound: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (self.0 >> 33) % bound
        }
    }

    fn batches(seed: u64, rows: usize, groups: u64) -> Vec<RecordBatch> {
        let mut numbers = Numbers(seed);
        let mut batches = Vec::new();
        for _ in 0..rows.div_ceil(97) {
            let mut keys = Vec::new();
            let mut names = Vec::new();
            let mut flags = Vec::new();
            let mut days = Vec::new();
            let mut wanted = Vec::new();
            for _ in 0..97 {
                keys.push((numbers.next(9) > 0).then(|| format!("k{}", numbers.next(groups))));
                names.push((numbers.next(7) > 0).then(|| format!("name {}", numbers.next(40))));
                flags.push((numbers.next(5) > 0).then(|| numbers.next(2) == 0));
                days.push((numbers.next(5) > 0).then(|| numbers.next(30) as i32));
                wanted.push(Some(numbers.next(3) as i64));
            }
            let columns: Vec<(&str, ArrayRef)> = vec![
                ("k", Arc::new(StringArray::from(keys))),
                ("name", Arc::new(StringArray::from(names))),
                ("flag", Arc::new(BooleanArray::from(flags))),
                ("day", Arc::new(Date32Array::from(days))),
                ("wanted", Arc::new(Int64Array::from(wanted))),
            ];
            batches.push(
                RecordBatch::try_from_iter_with_nullable(
                    columns.into_iter().map(|(name, array)| (name, array, true)),
                )
                .unwrap(),
            );
        }
        batches
    }

    async fn answer(
        with_ours: bool,
        partitions: usize,
        sorted: bool,
        data: &[RecordBatch],
        sql: &str,
    ) -> String {
        let config = SessionConfig::new()
            .with_target_partitions(partitions)
            .with_batch_size(64)
            // Converts rows to states without grouping, from the first batches on.
            .set_u64(
                "datafusion.execution.skip_partial_aggregation_probe_rows_threshold",
                100,
            )
            .set_str(
                "datafusion.execution.skip_partial_aggregation_probe_ratio_threshold",
                "0.2",
            );
        let context = SessionContext::new_with_config(config);
        if with_ours {
            context.register_udaf(count_udaf().as_ref().clone());
        }
        let slices: Vec<Vec<RecordBatch>> = data
            .chunks(data.len().div_ceil(partitions))
            .map(|slice| slice.to_vec())
            .collect();
        let mut table = MemTable::try_new(data[0].schema(), slices).unwrap();
        if sorted {
            let order = vec![datafusion::prelude::col("k").sort(true, true)];
            let rows = context
                .read_batches(data.to_vec())
                .unwrap()
                .sort(order.clone())
                .unwrap();
            table = MemTable::try_new(data[0].schema(), vec![rows.collect().await.unwrap()])
                .unwrap()
                .with_sort_order(vec![order]);
        }
        context.register_table("t", Arc::new(table)).unwrap();
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&rows).unwrap().to_string()
    }

    #[tokio::test]
    async fn equals_the_plain_aggregate() {
        const QUERIES: [&str; 4] = [
            "SELECT k, count(*), count(DISTINCT name), count(DISTINCT day), count(DISTINCT flag), min(day) FROM t GROUP BY k ORDER BY k",
            "SELECT k, flag, count(DISTINCT name) FILTER (WHERE wanted > 0), count(name), count(DISTINCT wanted) FROM t GROUP BY k, flag ORDER BY k, flag",
            "SELECT count(DISTINCT name), count(DISTINCT day) FROM t",
            "SELECT k, count(DISTINCT name), count(DISTINCT CAST(wanted AS DECIMAL(9, 2))) FROM t WHERE day < 20 GROUP BY k ORDER BY k",
        ];
        for seed in 1..=4 {
            let data = batches(seed, 3000, seed * seed * 30);
            for sql in QUERIES {
                let expected = answer(false, 1, false, &data, sql).await;
                for partitions in [1, 3] {
                    let got = answer(true, partitions, false, &data, sql).await;
                    assert_eq!(got, expected, "seed {seed}, {partitions} partitions: {sql}");
                }
                let got = answer(true, 1, true, &data, sql).await;
                assert_eq!(got, expected, "seed {seed}, sorted input: {sql}");
            }
        }
    }
}
