//! What the four files agree on: who ordered what, when and for how much. Everything
//! here is computed from numbers, nothing is kept, so that chunks need not meet.

use super::calendar::Calendar;
use super::{EVENTS, INVENTORY, PAYMENTS, TICKETS};
use crate::random::{Random, hash, scale, unit};
use crate::text::push_padded;

/// Random streams: one for each thing that must not depend on another.
pub(super) mod stream {
    pub const SESSION_CUSTOMER: u64 = 1;
    pub const ORDER_CUSTOMER: u64 = 2;
    pub const ORDER_TIME: u64 = 3;
    pub const ORDER_PRODUCT: u64 = 4;
    pub const ORDER_QUANTITY: u64 = 5;
    pub const PRICE: u64 = 6;
    pub const PAYMENT_ROW: u64 = 7;
    pub const EVENTS: u64 = 8;
    pub const PAYMENTS: u64 = 9;
    pub const INVENTORY: u64 = 10;
    pub const TICKETS: u64 = 11;
    pub const SESSION: u64 = 12;
    pub const PAIR: u64 = 13;
    pub const TICKET_ROW: u64 = 14;
}

/// Events per session, on average.
const EVENTS_PER_SESSION: u64 = 4;
/// Sessions per customer, on average.
const SESSIONS_PER_CUSTOMER: u64 = 5;
/// Warehouses that keep each product.
pub(super) const WAREHOUSES: u64 = 5;
/// Snapshots of each product in each warehouse.
pub(super) const SNAPSHOTS: u64 = 10;
/// Product categories.
const CATEGORIES: u64 = 25;

/// What a row of the payments is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaymentRow {
    /// The first payment of an order.
    First,
    /// A second try after the first failed: the order of the row before.
    Retry,
    /// The row before once more.
    Duplicate,
}

#[derive(Debug, Clone)]
pub(super) struct Shop {
    pub seed: u64,
    pub events: u64,
    pub sessions: u64,
    pub customers: u64,
    pub payments: u64,
    pub inventory: u64,
    pub products: u64,
    pub tickets: u64,
    calendar: Calendar,
}

impl Shop {
    pub(super) fn new(scale: f64, seed: u64) -> Self {
        let rows = |at_scale_one: u64| (at_scale_one as f64 * scale).round().max(1.0) as u64;
        let events = rows(EVENTS);
        let inventory = rows(INVENTORY);
        let sessions = events.div_ceil(EVENTS_PER_SESSION);
        Self {
            seed,
            events,
            sessions,
            customers: sessions.div_ceil(SESSIONS_PER_CUSTOMER),
            payments: rows(PAYMENTS),
            inventory,
            products: inventory.div_ceil(WAREHOUSES * SNAPSHOTS),
            tickets: rows(TICKETS),
            calendar: Calendar::new(),
        }
    }

    /// A customer at random: some buy far more often than others.
    fn any_customer(&self, bits: u64) -> u64 {
        let position = unit(bits);
        let rank = (position * position * self.customers as f64) as u64;
        scatter(rank, self.customers)
    }

    /// Every customer has a session, every fifth belongs to one in turn.
    pub(super) fn session_customer(&self, session: u64) -> u64 {
        if session.is_multiple_of(SESSIONS_PER_CUSTOMER) {
            return scatter(session / SESSIONS_PER_CUSTOMER, self.customers);
        }
        self.any_customer(hash(self.seed, stream::SESSION_CUSTOMER, session))
    }

    /// The order that a session ends in if it ends in a purchase.
    pub(super) fn session_order(&self, session: u64) -> Option<u64> {
        let order = session * 2;
        (order < self.payments).then_some(order)
    }

    /// Even orders belong to sessions, odd ones come in by phone or partner.
    pub(super) fn order_customer(&self, order: u64) -> u64 {
        if order.is_multiple_of(2) && order / 2 < self.sessions {
            return self.session_customer(order / 2);
        }
        self.any_customer(hash(self.seed, stream::ORDER_CUSTOMER, order))
    }

    /// When an order was placed.
    pub(super) fn order_time(&self, order: u64) -> i64 {
        self.time_at(order, self.payments)
    }

    /// When something happens that is the `index`-th of so many in the year.
    pub(super) fn time_at(&self, index: u64, total: u64) -> i64 {
        let bits = hash(self.seed, stream::ORDER_TIME, index);
        let position = (index as f64 + unit(bits)) / total as f64;
        self.calendar.time(position, bits.rotate_left(32))
    }

    /// A product at random: few are popular.
    pub(super) fn any_product(&self, bits: u64) -> u64 {
        let position = unit(bits);
        let rank = (position * position * position * self.products as f64) as u64;
        scatter(rank, self.products)
    }

    /// What an order is about.
    pub(super) fn order_product(&self, order: u64) -> u64 {
        self.any_product(hash(self.seed, stream::ORDER_PRODUCT, order))
    }

    /// Price of a product, in cents: from 3 to 900, mostly below 100.
    pub(super) fn price(&self, product: u64) -> u64 {
        let position = unit(hash(self.seed, stream::PRICE, product));
        let cubed = position * position * position;
        299 + (cubed * 90_000.0) as u64
    }

    /// What an order costs, in cents.
    pub(super) fn order_amount(&self, order: u64) -> u64 {
        let quantities = [(70, 1), (20, 2), (7, 3), (3, 5)];
        let bits = hash(self.seed, stream::ORDER_QUANTITY, order);
        let quantity: u64 = crate::random::pick(bits, &quantities);
        self.price(self.order_product(order)) * quantity
    }

    /// What the `row`-th payment is: odd rows may go back to the row before.
    pub(super) fn payment_row(&self, row: u64) -> PaymentRow {
        if row.is_multiple_of(2) {
            return PaymentRow::First;
        }
        // Of the odd rows: 1 % duplicates, 8 % second tries.
        match scale(hash(self.seed, stream::PAYMENT_ROW, row), 1000) {
            0..10 => PaymentRow::Duplicate,
            10..90 => PaymentRow::Retry,
            _ => PaymentRow::First,
        }
    }

    /// The order that the `row`-th payment is for.
    pub(super) fn payment_order(&self, row: u64) -> u64 {
        match self.payment_row(row) {
            PaymentRow::First => row,
            PaymentRow::Retry | PaymentRow::Duplicate => row - 1,
        }
    }

    /// The random numbers of one chunk of a file.
    pub(super) fn random(&self, stream: u64, chunk: u64) -> Random {
        Random::new(self.seed, stream, chunk)
    }
}

/// Shuffles `0..count`, so that neighbours in rank are not neighbours in number.
fn scatter(rank: u64, count: u64) -> u64 {
    // A prime beyond every count we have: multiplication by it is one to one.
    const PRIME: u128 = 4_294_967_291;
    (u128::from(rank) * PRIME % u128::from(count.max(1))) as u64
}

pub(super) fn push_customer(buffer: &mut Vec<u8>, customer: u64) {
    buffer.extend_from_slice(b"CUST-");
    push_padded(buffer, customer + 1, 8);
}

/// A customer that the shop does not have.
pub(super) fn push_unknown_customer(buffer: &mut Vec<u8>, number: u64) {
    buffer.extend_from_slice(b"CUST-X");
    push_padded(buffer, number, 7);
}

pub(super) fn push_product(buffer: &mut Vec<u8>, product: u64) {
    buffer.extend_from_slice(b"PROD-");
    push_padded(buffer, product + 1, 6);
}

pub(super) fn push_order(buffer: &mut Vec<u8>, order: u64) {
    buffer.extend_from_slice(b"ORD-");
    push_padded(buffer, order + 1, 9);
}

pub(super) fn push_category(buffer: &mut Vec<u8>, product: u64) {
    buffer.extend_from_slice(b"CAT-");
    push_padded(buffer, product % CATEGORIES + 1, 2);
}

pub(super) fn push_warehouse(buffer: &mut Vec<u8>, warehouse: u64) {
    buffer.extend_from_slice(b"WH-");
    push_padded(buffer, warehouse + 1, 2);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn scattering_is_one_to_one() {
        for count in [1, 2, 50, 9_999, 100_000] {
            let all: HashSet<u64> = (0..count).map(|rank| scatter(rank, count)).collect();
            assert_eq!(all.len() as u64, count);
        }
    }

    #[test]
    fn every_customer_has_a_session_and_some_have_many() {
        let shop = Shop::new(0.01, 5);
        let mut sessions = vec![0_u64; shop.customers as usize];
        for session in 0..shop.sessions {
            sessions[shop.session_customer(session) as usize] += 1;
        }
        assert!(sessions.iter().all(|count| *count > 0));
        assert!(sessions.iter().max().unwrap() > &40);
    }

    #[test]
    fn orders_come_in_the_order_of_time_by_day() {
        let shop = Shop::new(0.01, 5);
        let days: Vec<i64> = (0..shop.payments)
            .map(|order| shop.order_time(order) / 86_400)
            .collect();
        assert!(days.is_sorted());
    }
}
