//! `support_tickets.csv`: what customers asked, and how fast they were helped.

use super::Chunks;
use super::shop::{Shop, push_customer, push_order, push_unknown_customer, stream};
use crate::generate::{ChunkedFile, Planted};
use crate::random::{Random, hash, scale};
use crate::text::{DAY, YEAR_END, push_number, push_padded, push_timestamp};

/// Dirty rows: what is wrong and how often, in a million.
///
/// Besides, about 0.5 % of the rows are the row before once more.
const PLANTED: [(u64, Defect, &str); 6] = [
    (2_000, Defect::NoCustomer, "customer_id is empty"),
    (2_000, Defect::UnknownCustomer, "unknown customer_id"),
    (2_000, Defect::UnknownOrder, "unknown order_id"),
    (1_000, Defect::BadPriority, "unknown priority"),
    (1_000, Defect::Backwards, "resolved before created"),
    (1_000, Defect::BadScore, "satisfaction_score out of range"),
];
const DUPLICATES: &str = "duplicate row";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    NoCustomer,
    UnknownCustomer,
    UnknownOrder,
    BadPriority,
    Backwards,
    BadScore,
}

/// Priorities with the hours that a first response and a resolution usually take.
const PRIORITIES: [(u64, (&str, f64, f64)); 4] = [
    (40, ("low", 20.0, 120.0)),
    (35, ("medium", 3.5, 55.0)),
    (18, ("high", 0.9, 20.0)),
    (7, ("urgent", 0.25, 3.5)),
];

/// Types with the subjects that customers write.
const TYPES: [(u64, (&str, &str)); 7] = [
    (25, ("shipping", "Where is my order")),
    (20, ("return", "I want to return an item")),
    (15, ("refund", "Refund has not arrived")),
    (14, ("product", "Question about a product")),
    (12, ("payment", "Payment was refused")),
    (8, ("account", "Cannot log in")),
    (6, ("complaint", "Item arrived damaged")),
];

const CHANNELS: [(u64, &str); 4] = [(40, "email"), (35, "chat"), (15, "phone"), (10, "social")];

const SCORES: [(u64, u64); 5] = [(35, 5), (30, 4), (17, 3), (10, 2), (8, 1)];

pub(super) struct SupportTickets {
    shop: Shop,
    chunks: Chunks,
}

impl SupportTickets {
    pub(super) fn new(shop: Shop) -> Self {
        // In pairs, since an odd row may be the one before it once more.
        let chunks = Chunks::new(shop.tickets.div_ceil(2), 5_000);
        Self { shop, chunks }
    }

    fn rows_between(&self, chunk: u64) -> std::ops::Range<u64> {
        let pairs = self.chunks.range(chunk);
        pairs.start * 2..(pairs.end * 2).min(self.shop.tickets)
    }

    fn is_duplicate(&self, row: u64) -> bool {
        !row.is_multiple_of(2) && scale(hash(self.shop.seed, stream::TICKET_ROW, row), 1000) < 10
    }

    fn push_row(&self, row: u64, random: &mut Random, buffer: &mut Vec<u8>, planted: &mut Planted) {
        let (ticket_type, subject) = random.pick(&TYPES);
        let (priority, response_hours, resolution_hours) = random.pick(&PRIORITIES);
        // The order that was placed about when this ticket's share of the year begins.
        let payment = (u128::from(row) * u128::from(self.shop.payments)
            / u128::from(self.shop.tickets)) as u64;
        let order = self.shop.payment_order(payment);
        let has_order = ticket_type != "account" && random.chance(850_000);
        let created = self.shop.order_time(order) + random.between(600, 6 * DAY);
        let created = created.min(YEAR_END - 1);
        let response = created + duration(response_hours, random);
        let resolution = response + duration(resolution_hours, random);
        // What had not happened at the end of the year is not in the extract.
        let is_answered = response < YEAR_END && !random.chance(15_000);
        let is_resolved = is_answered && resolution < YEAR_END && !random.chance(40_000);

        let defect = random.defect(&PLANTED).filter(|(defect, _)| match defect {
            Defect::UnknownOrder => has_order,
            Defect::Backwards | Defect::BadScore => is_resolved,
            Defect::NoCustomer | Defect::UnknownCustomer | Defect::BadPriority => true,
        });
        if let Some((_, name)) = defect {
            planted.add(name);
        }
        let defect = defect.map(|(defect, _)| defect);

        buffer.extend_from_slice(b"TKT-");
        push_padded(buffer, row + 1, 9);
        buffer.push(b',');
        match defect {
            Some(Defect::NoCustomer) => {}
            Some(Defect::UnknownCustomer) => {
                push_unknown_customer(buffer, random.below(100_000));
            }
            _ => push_customer(buffer, self.shop.order_customer(order)),
        }
        buffer.push(b',');
        match defect {
            Some(Defect::UnknownOrder) => {
                buffer.extend_from_slice(b"ORD-X");
                push_padded(buffer, random.below(1_000_000), 8);
            }
            _ if has_order => push_order(buffer, order),
            _ => {}
        }
        buffer.push(b',');
        buffer.extend_from_slice(ticket_type.as_bytes());
        buffer.push(b',');
        let written_priority = match defect {
            Some(Defect::BadPriority) => "asap",
            _ => priority,
        };
        buffer.extend_from_slice(written_priority.as_bytes());
        buffer.push(b',');
        let status = match (is_answered, is_resolved) {
            (_, true) if random.chance(600_000) => "closed",
            (_, true) => "resolved",
            (true, false) => "pending",
            (false, false) => "open",
        };
        buffer.extend_from_slice(status.as_bytes());
        buffer.push(b',');
        push_timestamp(buffer, created);
        buffer.push(b',');
        if is_answered {
            push_timestamp(buffer, response);
        }
        buffer.push(b',');
        if defect == Some(Defect::Backwards) {
            push_timestamp(buffer, created - random.between(3_600, 2 * DAY));
        } else if is_resolved {
            push_timestamp(buffer, resolution);
        }
        buffer.extend_from_slice(b",AGT-");
        push_padded(buffer, random.below(200) + 1, 4);
        buffer.push(b',');
        if defect == Some(Defect::BadScore) {
            push_number(buffer, [0, 6, 9, 11][random.below(4) as usize]);
        } else if is_resolved && random.chance(600_000) {
            push_number(buffer, random.pick(&SCORES));
        }
        buffer.push(b',');
        buffer.extend_from_slice(subject.as_bytes());
        buffer.push(b',');
        buffer.extend_from_slice(random.pick(&CHANNELS).as_bytes());
        buffer.push(b'\n');
    }
}

/// Seconds that something takes which usually takes so many hours: mostly less, at
/// times several times as long.
fn duration(usual_hours: f64, random: &mut Random) -> i64 {
    let position = random.unit();
    let factor = 0.05 + position * position * 1.6;
    (usual_hours * factor * 3600.0) as i64 + 60
}

impl ChunkedFile for SupportTickets {
    fn name(&self) -> &'static str {
        "support_tickets.csv"
    }

    fn header(&self) -> &'static str {
        "ticket_id,customer_id,order_id,ticket_type,priority,status,created_timestamp,\
         first_response_timestamp,resolution_timestamp,agent_id,satisfaction_score,subject,channel"
    }

    fn rows(&self) -> u64 {
        self.shop.tickets
    }

    fn chunks(&self) -> u64 {
        self.chunks.count()
    }

    fn rows_of_chunk(&self, chunk: u64) -> u64 {
        let range = self.rows_between(chunk);
        range.end - range.start
    }

    fn write_chunk(&self, chunk: u64, buffer: &mut Vec<u8>, planted: &mut Planted) {
        let mut random = self.shop.random(stream::TICKETS, chunk);
        let mut last_row = buffer.len();
        for row in self.rows_between(chunk) {
            let start = buffer.len();
            if self.is_duplicate(row) {
                buffer.extend_from_within(last_row..start);
                planted.add(DUPLICATES);
            } else {
                self.push_row(row, &mut random, buffer, planted);
            }
            last_row = start;
        }
    }
}
