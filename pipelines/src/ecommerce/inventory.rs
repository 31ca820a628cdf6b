//! `inventory_snapshots.csv`: what each warehouse had of each product, ten times a year.

use super::Chunks;
use super::shop::{SNAPSHOTS, Shop, WAREHOUSES, push_product, push_warehouse, stream};
use crate::generate::{ChunkedFile, Planted};
use crate::random::{Random, hash};
use crate::text::{DAY, YEAR_START, push_cents, push_date, push_number, push_padded};

/// Dirty rows: what is wrong and how often, in a million.
///
/// Duplicates take the place of the next snapshot (0.5 %).
const PLANTED: [(u64, Defect, &str); 4] = [
    (5_000, Defect::Duplicate, "duplicate row"),
    (1_000, Defect::NoWarehouse, "warehouse_id is empty"),
    (1_000, Defect::Negative, "negative quantity_on_hand"),
    (2_000, Defect::BadCost, "malformed unit_cost"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    Duplicate,
    NoWarehouse,
    Negative,
    BadCost,
}

/// Days between two snapshots.
const INTERVAL: i64 = 36;

pub(super) struct InventorySnapshots {
    shop: Shop,
    /// Of pairs of product and warehouse, each with ten snapshots.
    chunks: Chunks,
}

/// Stock of one product in one warehouse, at one snapshot.
struct Stock {
    on_hand: i64,
    received: i64,
}

impl InventorySnapshots {
    pub(super) fn new(shop: Shop) -> Self {
        let chunks = Chunks::new(shop.inventory.div_ceil(SNAPSHOTS), 2_000);
        Self { shop, chunks }
    }

    fn rows_between(&self, chunk: u64) -> std::ops::Range<u64> {
        let pairs = self.chunks.range(chunk);
        pairs.start * SNAPSHOTS..(pairs.end * SNAPSHOTS).min(self.shop.inventory)
    }

    /// The snapshots of one pair: rows `first..end` of the file.
    fn push_pair(
        &self,
        rows: std::ops::Range<u64>,
        random: &mut Random,
        buffer: &mut Vec<u8>,
        planted: &mut Planted,
    ) {
        let pair = rows.start / SNAPSHOTS;
        let (product, warehouse) = (pair / WAREHOUSES, pair % WAREHOUSES);
        let mut of_pair = Random::from_hash(hash(self.shop.seed, stream::PAIR, pair));
        // Units sold per 36 days: few products are popular.
        let position = of_pair.unit();
        let demand = 2 + (position * position * position * 400.0) as i64;
        let reorder_point = demand / 2 + 5;
        let reorder_quantity = demand * 2 + 20;
        let supplier = of_pair.below(300);
        // Snapshots of different pairs are taken on different days.
        let first_day = of_pair.between(0, INTERVAL - 1);
        let mut stock = Stock {
            on_hand: reorder_quantity + of_pair.between(0, reorder_quantity),
            received: first_day - of_pair.between(1, 60),
        };
        let mut last_row = buffer.len()..buffer.len();
        for row in rows.clone() {
            let step = (row - rows.start) as i64;
            let day = first_day + step * INTERVAL;
            if step > 0 {
                self.pass_time(
                    &mut stock,
                    day,
                    demand,
                    reorder_point,
                    reorder_quantity,
                    random,
                );
            }
            let defect = random.defect(&PLANTED).filter(|(defect, _)| {
                // There must be a row before to duplicate.
                *defect != Defect::Duplicate || step > 0
            });
            if let Some((_, name)) = defect {
                planted.add(name);
            }
            let defect = defect.map(|(defect, _)| defect);
            let start = buffer.len();
            if defect == Some(Defect::Duplicate) {
                buffer.extend_from_within(last_row);
                last_row = start..buffer.len();
                continue;
            }
            let reserved = random.between(0, stock.on_hand / 5);
            buffer.extend_from_slice(b"INV-");
            push_padded(buffer, row + 1, 10);
            buffer.push(b',');
            push_product(buffer, product);
            buffer.push(b',');
            if defect != Some(Defect::NoWarehouse) {
                push_warehouse(buffer, warehouse);
            }
            buffer.push(b',');
            push_date(buffer, YEAR_START + day * DAY);
            buffer.push(b',');
            if defect == Some(Defect::Negative) {
                buffer.push(b'-');
                push_number(buffer, random.below(50) + 1);
            } else {
                push_number(buffer, stock.on_hand.unsigned_abs());
            }
            for number in [
                reserved,
                stock.on_hand - reserved,
                reorder_point,
                reorder_quantity,
            ] {
                buffer.push(b',');
                push_number(buffer, number.unsigned_abs());
            }
            buffer.extend_from_slice(b",SUP-");
            push_padded(buffer, supplier + 1, 4);
            buffer.push(b',');
            push_date(buffer, YEAR_START + stock.received * DAY);
            buffer.push(b',');
            if defect == Some(Defect::BadCost) {
                buffer.extend_from_slice(b"unknown");
            } else {
                push_cents(buffer, self.shop.price(product) * 6 / 10);
            }
            buffer.push(b'\n');
            last_row = start..buffer.len();
        }
    }

    /// Sells for 36 days, and reorders when there is little left.
    fn pass_time(
        &self,
        stock: &mut Stock,
        day: i64,
        demand: i64,
        reorder_point: i64,
        reorder_quantity: i64,
        random: &mut Random,
    ) {
        let sold = random.between(demand / 2, demand * 3 / 2);
        stock.on_hand = (stock.on_hand - sold).max(0);
        // Now and then a supplier is late: such stock is low, or gone.
        if stock.on_hand <= reorder_point && random.chance(750_000) {
            stock.on_hand += reorder_quantity;
            stock.received = day - random.between(0, INTERVAL - 1);
        }
    }
}

impl ChunkedFile for InventorySnapshots {
    fn name(&self) -> &'static str {
        "inventory_snapshots.csv"
    }

    fn header(&self) -> &'static str {
        "snapshot_id,product_id,warehouse_id,snapshot_date,quantity_on_hand,quantity_reserved,\
         quantity_available,reorder_point,reorder_quantity,supplier_id,last_received_date,unit_cost"
    }

    fn rows(&self) -> u64 {
        self.shop.inventory
    }

    fn chunks(&self) -> u64 {
        self.chunks.count()
    }

    fn rows_of_chunk(&self, chunk: u64) -> u64 {
        let range = self.rows_between(chunk);
        range.end - range.start
    }

    fn write_chunk(&self, chunk: u64, buffer: &mut Vec<u8>, planted: &mut Planted) {
        let mut random = self.shop.random(stream::INVENTORY, chunk);
        for pair in self.chunks.range(chunk) {
            let first = pair * SNAPSHOTS;
            let end = (first + SNAPSHOTS).min(self.shop.inventory);
            self.push_pair(first..end, &mut random, buffer, planted);
        }
    }
}
