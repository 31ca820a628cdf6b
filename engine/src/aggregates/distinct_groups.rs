//! Distinct counts of all groups in one hash table.

use std::mem::size_of;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, UInt32Array, new_empty_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{and, filter, is_not_null, prep_null_mask_filter, take};
use datafusion::arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

/// Counts the distinct non-null values of every group.
///
/// The table holds the pairs (group, value) that were seen; a group's count is the number of its
/// pairs. The partial state of a group is the list of its values, as upstream's is.
pub(super) struct DistinctCountGroups {
    value_type: DataType,
    pairs: Box<dyn GroupValues>,
    /// Distinct values of each group so far.
    counts: Vec<i64>,
    /// Scratch for the table's answers.
    pair_indices: Vec<usize>,
}

impl DistinctCountGroups {
    pub(super) fn try_new(value_type: &DataType) -> Result<Self> {
        Ok(Self {
            value_type: value_type.clone(),
            pairs: new_pairs(value_type)?,
            counts: Vec::new(),
            pair_indices: Vec::new(),
        })
    }

    /// Adds pairs; `values` has no nulls.
    fn insert(&mut self, groups: UInt32Array, values: ArrayRef) -> Result<()> {
        let known = self.pairs.len();
        let groups = Arc::new(groups);
        self.pairs
            .intern(&[groups.clone(), values], &mut self.pair_indices)?;
        // New pairs have the indices from `known` on, in no particular order of rows; a pair
        // that is new and twice in this batch counts once.
        let mut is_counted = vec![false; self.pairs.len() - known];
        for (group, &pair) in groups.values().iter().zip(&self.pair_indices) {
            if pair >= known && !is_counted[pair - known] {
                is_counted[pair - known] = true;
                self.counts[*group as usize] += 1;
            }
        }
        Ok(())
    }

    /// Takes the pairs of the groups to emit out of the table; later groups move down.
    fn take_pairs(&mut self, emit_to: EmitTo) -> Result<(UInt32Array, ArrayRef)> {
        let (groups, values) = self.take_all_pairs()?;
        let emitted_groups = match emit_to {
            EmitTo::All => return Ok((groups, values)),
            EmitTo::First(count) => group_index(count)?,
        };
        let is_emitted: BooleanArray = groups
            .values()
            .iter()
            .map(|group| Some(*group < emitted_groups))
            .collect();
        let stays = datafusion::arrow::compute::not(&is_emitted)?;
        let staying_groups: UInt32Array = filter(&groups, &stays)?
            .as_primitive::<UInt32Type>()
            .unary(|group| group - emitted_groups);
        let staying_values = filter(&values, &stays)?;
        self.pairs.intern(
            &[Arc::new(staying_groups), staying_values],
            &mut self.pair_indices,
        )?;
        let groups = filter(&groups, &is_emitted)?.as_primitive().clone();
        Ok((groups, filter(&values, &is_emitted)?))
    }

    fn take_all_pairs(&mut self) -> Result<(UInt32Array, ArrayRef)> {
        if self.pairs.is_empty() {
            return Ok((
                UInt32Array::from(Vec::<u32>::new()),
                new_empty_array(&self.value_type),
            ));
        }
        // An emptied table keeps the hashes of what it had, so a new one takes its place.
        let mut full = std::mem::replace(&mut self.pairs, new_pairs(&self.value_type)?);
        let mut columns = full.emit(EmitTo::All)?.into_iter();
        match (columns.next(), columns.next()) {
            (Some(groups), Some(values)) => Ok((groups.as_primitive().clone(), values)),
            _ => Err(internal_datafusion_err!(
                "the table of distinct values lost a column"
            )),
        }
    }
}

impl GroupsAccumulator for DistinctCountGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter_mask: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.counts.resize(total_num_groups, 0);
        let values = &values[0];
        let groups = group_indices
            .iter()
            .map(|group| group_index(*group))
            .collect::<Result<Vec<_>>>()?;
        let groups = UInt32Array::from(groups);
        match counted_rows(values, filter_mask)? {
            None => self.insert(groups, values.clone()),
            Some(mask) => {
                let groups = filter(&groups, &mask)?.as_primitive().clone();
                self.insert(groups, filter(values, &mask)?)
            }
        }
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.counts.resize(total_num_groups, 0);
        let lists = states[0].as_list::<i32>();
        let offsets = lists.offsets();
        let first = offsets[0] as usize;
        let last = offsets[lists.len()] as usize;
        let mut groups = Vec::with_capacity(last - first);
        for (row, group) in group_indices.iter().enumerate() {
            // A null list has no values, whatever its offsets say.
            let length = if lists.is_null(row) {
                0
            } else {
                lists.value_length(row)
            };
            groups.extend(std::iter::repeat_n(group_index(*group)?, length as usize));
        }
        let values = match lists.nulls() {
            Some(nulls) if nulls.null_count() > 0 => {
                let kept: UInt32Array = (0..lists.len())
                    .filter(|row| !lists.is_null(*row))
                    .flat_map(|row| offsets[row] as u32..offsets[row + 1] as u32)
                    .collect();
                take(lists.values(), &kept, None)?
            }
            _ => lists.values().slice(first, last - first),
        };
        self.insert(UInt32Array::from(groups), values)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.take_pairs(emit_to)?;
        Ok(Arc::new(Int64Array::from(
            emit_to.take_needed(&mut self.counts),
        )))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (groups, values) = self.take_pairs(emit_to)?;
        let counts = emit_to.take_needed(&mut self.counts);
        // A counting sort by group: the groups' counts are known already.
        let offsets = OffsetBuffer::<i32>::from_lengths(counts.iter().map(|count| *count as usize));
        let mut next_position: Vec<i32> = offsets[..counts.len()].to_vec();
        let mut order = vec![0_u32; groups.len()];
        for (pair, group) in groups.values().iter().enumerate() {
            let position = &mut next_position[*group as usize];
            order[*position as usize] = pair as u32;
            *position += 1;
        }
        let sorted = take(&values, &UInt32Array::from(order), None)?;
        Ok(vec![self.lists(offsets, sorted)?])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter_mask: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = &values[0];
        let lists = match counted_rows(values, filter_mask)? {
            None => {
                let offsets =
                    OffsetBuffer::<i32>::from_lengths(std::iter::repeat_n(1, values.len()));
                self.lists(offsets, values.clone())?
            }
            Some(mask) => {
                let lengths = mask.values().iter().map(usize::from);
                self.lists(
                    OffsetBuffer::<i32>::from_lengths(lengths),
                    filter(values, &mask)?,
                )?
            }
        };
        Ok(vec![lists])
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + self.pairs.size()
            + self.counts.capacity() * size_of::<i64>()
            + self.pair_indices.capacity() * size_of::<usize>()
    }
}

impl DistinctCountGroups {
    fn lists(&self, offsets: OffsetBuffer<i32>, values: ArrayRef) -> Result<ArrayRef> {
        let field = Arc::new(Field::new_list_field(self.value_type.clone(), true));
        let no_nulls: Option<NullBuffer> = None;
        Ok(Arc::new(ListArray::try_new(
            field, offsets, values, no_nulls,
        )?))
    }
}

fn new_pairs(value_type: &DataType) -> Result<Box<dyn GroupValues>> {
    let schema = Schema::new(vec![
        Field::new("group", DataType::UInt32, false),
        Field::new("value", value_type.clone(), true),
    ]);
    new_group_values(Arc::new(schema), &GroupOrdering::None)
}

fn group_index(group: usize) -> Result<u32> {
    u32::try_from(group)
        .map_err(|_| internal_datafusion_err!("more than {} groups in one aggregate", u32::MAX))
}

/// The rows that count: not null and let through by the filter. `None` means all.
fn counted_rows(
    values: &ArrayRef,
    filter_mask: Option<&BooleanArray>,
) -> Result<Option<BooleanArray>> {
    let is_value = (values.logical_null_count() > 0)
        .then(|| is_not_null(values))
        .transpose()?;
    let is_wanted = filter_mask.map(|mask| match mask.null_count() {
        0 => mask.clone(),
        _ => prep_null_mask_filter(mask),
    });
    Ok(match (is_value, is_wanted) {
        (None, None) => None,
        (Some(mask), None) | (None, Some(mask)) => Some(mask),
        (Some(value), Some(wanted)) => Some(and(&value, &wanted)?),
    })
}
