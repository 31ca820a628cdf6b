//! `payment_transactions.csv`: every attempt to pay for an order.

use super::Chunks;
use super::shop::{PaymentRow, Shop, push_customer, push_order, push_unknown_customer, stream};
use crate::generate::{ChunkedFile, Planted};
use crate::random::Random;
use crate::text::{YEAR_END, push_cents, push_number, push_padded, push_timestamp};

/// Dirty rows: what is wrong and how often, in a million.
///
/// Besides, about 0.5 % of the rows are the row before once more.
const PLANTED: [(u64, Defect, &str); 6] = [
    (1_000, Defect::NoTransaction, "transaction_id is empty"),
    (2_000, Defect::NoCustomer, "customer_id is empty"),
    (2_000, Defect::UnknownCustomer, "unknown customer_id"),
    (2_000, Defect::BadAmount, "malformed amount"),
    (1_000, Defect::BadStatus, "unknown payment_status"),
    (1_000, Defect::BadRisk, "risk_score out of range"),
];
const DUPLICATES: &str = "duplicate row";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    NoTransaction,
    NoCustomer,
    UnknownCustomer,
    BadAmount,
    BadStatus,
    BadRisk,
}

const METHODS: [(u64, &str); 6] = [
    (45, "credit_card"),
    (20, "paypal"),
    (15, "debit_card"),
    (10, "apple_pay"),
    (6, "bank_transfer"),
    (4, "gift_card"),
];

const STATUSES: [(u64, &str); 5] = [
    (87, "completed"),
    (3, "pending"),
    (5, "failed"),
    (3, "refunded"),
    (2, "cancelled"),
];

const COUNTRIES: [(u64, &str); 8] = [
    (40, "US"),
    (15, "GB"),
    (14, "DE"),
    (9, "FR"),
    (7, "CA"),
    (6, "NL"),
    (5, "ES"),
    (4, "AU"),
];

const REFUSALS: [(u64, &str); 4] = [(50, "05"), (30, "51"), (12, "54"), (8, "91")];

pub(super) struct PaymentTransactions {
    shop: Shop,
    chunks: Chunks,
}

impl PaymentTransactions {
    pub(super) fn new(shop: Shop) -> Self {
        // In pairs, since an odd row may look back at the one before it.
        let chunks = Chunks::new(shop.payments.div_ceil(2), 10_000);
        Self { shop, chunks }
    }

    fn rows_between(&self, chunk: u64) -> std::ops::Range<u64> {
        let pairs = self.chunks.range(chunk);
        pairs.start * 2..(pairs.end * 2).min(self.shop.payments)
    }

    fn push_row(&self, row: u64, random: &mut Random, buffer: &mut Vec<u8>, planted: &mut Planted) {
        let defect = random.defect(&PLANTED);
        if let Some((_, name)) = defect {
            planted.add(name);
        }
        let defect = defect.map(|(defect, _)| defect);
        let order = self.shop.payment_order(row);
        let is_retry = self.shop.payment_row(row) == PaymentRow::Retry;
        let is_retried =
            row.is_multiple_of(2) && self.shop.payment_row(row + 1) == PaymentRow::Retry;
        let status = if is_retried {
            "failed"
        } else {
            random.pick(&STATUSES)
        };
        let placed = self.shop.order_time(order);
        // A second try comes within minutes; both stay on the order's day as far as tests
        // and joins care, and in the year.
        let end_of_day = placed - placed.rem_euclid(86_400) + 86_399;
        let delay = if is_retry { random.between(30, 600) } else { 0 };
        let time = (placed + delay).min(end_of_day).min(YEAR_END - 1);
        let amount = self.shop.order_amount(order);

        if defect != Some(Defect::NoTransaction) {
            buffer.extend_from_slice(b"TXN-");
            push_padded(buffer, row + 1, 10);
        }
        buffer.push(b',');
        push_order(buffer, order);
        buffer.push(b',');
        match defect {
            Some(Defect::NoCustomer) => {}
            Some(Defect::UnknownCustomer) => {
                push_unknown_customer(buffer, random.below(100_000));
            }
            _ => push_customer(buffer, self.shop.order_customer(order)),
        }
        buffer.push(b',');
        buffer.extend_from_slice(random.pick(&METHODS).as_bytes());
        buffer.push(b',');
        let written_status = match defect {
            Some(Defect::BadStatus) => "COMPLETD",
            _ => status,
        };
        buffer.extend_from_slice(written_status.as_bytes());
        buffer.push(b',');
        if defect == Some(Defect::BadAmount) {
            let malformed: [&[u8]; 3] = [b"N/A", b"12;50", b"USD 40"];
            buffer.extend_from_slice(malformed[random.below(3) as usize]);
        } else {
            push_cents(buffer, amount);
        }
        buffer.extend_from_slice(b",USD,");
        push_timestamp(buffer, time);
        buffer.push(b',');
        let response = match status {
            "failed" => random.pick(&REFUSALS),
            _ => "00",
        };
        buffer.extend_from_slice(response.as_bytes());
        buffer.push(b',');
        // 2.9 % and 30 cents, as card processors ask.
        push_cents(buffer, amount * 29 / 1000 + 30);
        buffer.extend_from_slice(b",MER-");
        push_padded(buffer, random.below(200) + 1, 4);
        buffer.push(b',');
        buffer.extend_from_slice(random.pick(&COUNTRIES).as_bytes());
        buffer.push(b',');
        let risk = if random.chance(25_000) {
            random.between(80, 100)
        } else {
            let position = random.unit();
            (position * position * 80.0) as i64
        };
        match defect {
            Some(Defect::BadRisk) => push_number(buffer, 101 + random.below(800)),
            _ => push_number(buffer, risk.unsigned_abs()),
        }
        buffer.push(b'\n');
    }
}

impl ChunkedFile for PaymentTransactions {
    fn name(&self) -> &'static str {
        "payment_transactions.csv"
    }

    fn header(&self) -> &'static str {
        "transaction_id,order_id,customer_id,payment_method,payment_status,amount,currency,\
         transaction_timestamp,processor_response_code,gateway_fee,merchant_id,billing_country,\
         risk_score"
    }

    fn rows(&self) -> u64 {
        self.shop.payments
    }

    fn chunks(&self) -> u64 {
        self.chunks.count()
    }

    fn rows_of_chunk(&self, chunk: u64) -> u64 {
        let range = self.rows_between(chunk);
        range.end - range.start
    }

    fn write_chunk(&self, chunk: u64, buffer: &mut Vec<u8>, planted: &mut Planted) {
        let mut random = self.shop.random(stream::PAYMENTS, chunk);
        let mut last_row = buffer.len();
        for row in self.rows_between(chunk) {
            let start = buffer.len();
            if self.shop.payment_row(row) == PaymentRow::Duplicate {
                buffer.extend_from_within(last_row..start);
                planted.add(DUPLICATES);
            } else {
                self.push_row(row, &mut random, buffer, planted);
            }
            last_row = start;
        }
    }
}
