//! `customer_events.csv`: what visitors of the shop did.

use super::Chunks;
use super::shop::{Shop, push_category, push_customer, push_order, push_product, stream};
use crate::generate::{ChunkedFile, Planted};
use crate::random::{Random, hash};
use crate::text::{YEAR_END, YEAR_START, push_number, push_padded, push_timestamp};

/// Dirty rows: what is wrong and how often, in a million.
///
/// Duplicates are the same row a second time (0.5 %).
const PLANTED: [(u64, Defect, &str); 4] = [
    (5_000, Defect::NoCustomer, "customer_id is empty"),
    (1_000, Defect::BadTime, "malformed event_timestamp"),
    (1_000, Defect::BadType, "unknown event_type"),
    (1_000, Defect::BadProduct, "unknown product_id"),
];
const DUPLICATES: &str = "duplicate row";
/// One row of so many is written twice.
const DUPLICATE_EVERY: u64 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    NoCustomer,
    BadTime,
    BadType,
    BadProduct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PageView,
    ProductView,
    AddToCart,
    RemoveFromCart,
    CheckoutStart,
    Purchase,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::PageView => "page_view",
            Self::ProductView => "product_view",
            Self::AddToCart => "add_to_cart",
            Self::RemoveFromCart => "remove_from_cart",
            Self::CheckoutStart => "checkout_start",
            Self::Purchase => "purchase",
        }
    }
}

/// How far a visitor goes, with the weight of each kind of visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Bounce,
    Browse,
    Cart,
    Checkout,
    Buy,
}

const VISITS: [(u64, Visit); 5] = [
    (380, Visit::Bounce),
    (360, Visit::Browse),
    (120, Visit::Cart),
    (50, Visit::Checkout),
    (90, Visit::Buy),
];

const DEVICES: [(u64, (&str, &str)); 6] = [
    (
        30,
        (
            "mobile",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Safari/604.1",
        ),
    ),
    (
        26,
        (
            "mobile",
            "Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/124.0 Mobile",
        ),
    ),
    (
        20,
        (
            "desktop",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/124.0",
        ),
    ),
    (
        12,
        (
            "desktop",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_4) Safari/605.1",
        ),
    ),
    (
        5,
        (
            "desktop",
            "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Firefox/125.0",
        ),
    ),
    (
        7,
        (
            "tablet",
            "Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) Safari/604.1",
        ),
    ),
];

const REFERRERS: [(u64, &str); 7] = [
    (30, "google"),
    (25, "direct"),
    (15, "email"),
    (12, "facebook"),
    (8, "instagram"),
    (6, "affiliate"),
    (4, "bing"),
];

const PAGES: [(u64, &str); 6] = [
    (40, "/"),
    (20, "/search"),
    (15, "/sale"),
    (10, "/new"),
    (10, "/account"),
    (5, "/help"),
];

/// One event, before it becomes text.
#[derive(Debug, Clone, Copy)]
struct Event {
    time: i64,
    session: u64,
    kind: Kind,
    product: Option<u64>,
}

pub(super) struct CustomerEvents {
    shop: Shop,
    chunks: Chunks,
}

impl CustomerEvents {
    pub(super) fn new(shop: Shop) -> Self {
        let chunks = Chunks::new(shop.events, 20_000);
        Self { shop, chunks }
    }

    /// The events of some sessions, exactly `rows` of them, session by session.
    fn sessions(
        &self,
        sessions: std::ops::Range<u64>,
        rows: u64,
        random: &mut Random,
    ) -> Vec<Event> {
        let mut visits: Vec<(Visit, u64)> = sessions
            .clone()
            .map(|session| {
                let visit = random.pick(&VISITS);
                // A session after the last order cannot end in one.
                let visit = match visit {
                    Visit::Buy if self.shop.session_order(session).is_none() => Visit::Cart,
                    _ => visit,
                };
                let extra = random.below(4);
                let length = match visit {
                    Visit::Bounce => 1,
                    Visit::Browse => 2 + extra,
                    Visit::Cart => 4 + extra,
                    Visit::Checkout => 5 + extra,
                    Visit::Buy => 6 + extra,
                };
                (visit, length)
            })
            .collect();
        balance(&mut visits, rows, random);
        let mut events = Vec::with_capacity(rows as usize);
        for (session, (visit, length)) in sessions.zip(visits) {
            self.session(session, visit, length, random, &mut events);
        }
        events
    }

    /// The events of one session, in the order of time.
    fn session(
        &self,
        session: u64,
        visit: Visit,
        length: u64,
        random: &mut Random,
        events: &mut Vec<Event>,
    ) {
        let first = events.len();
        let shop = &self.shop;
        let order = shop.session_order(session).filter(|_| visit == Visit::Buy);
        let wanted = match order {
            Some(order) => shop.order_product(order),
            None => shop.any_product(random.bits()),
        };
        // The end of the visit is fixed, what comes before is looking around.
        let end: &[Kind] = match visit {
            Visit::Bounce | Visit::Browse => &[],
            Visit::Cart => &[Kind::ProductView, Kind::AddToCart],
            Visit::Checkout => &[Kind::ProductView, Kind::AddToCart, Kind::CheckoutStart],
            Visit::Buy => &[
                Kind::ProductView,
                Kind::AddToCart,
                Kind::CheckoutStart,
                Kind::Purchase,
            ],
        };
        let looking = length - end.len() as u64;
        let mut last_seen = None;
        let mut in_cart = None;
        for step in 0..looking {
            let choice = random.below(100);
            let (kind, product) = match (last_seen, in_cart) {
                (_, Some(product)) if choice < 30 => {
                    in_cart = None;
                    (Kind::RemoveFromCart, Some(product))
                }
                (Some(product), None)
                    if choice < 12 && !matches!(visit, Visit::Bounce | Visit::Browse) =>
                {
                    in_cart = Some(product);
                    (Kind::AddToCart, Some(product))
                }
                _ if step > 0 && choice < 70 => {
                    let product = shop.any_product(random.bits());
                    last_seen = Some(product);
                    (Kind::ProductView, Some(product))
                }
                _ => (Kind::PageView, None),
            };
            events.push(Event {
                time: 0,
                session,
                kind,
                product,
            });
        }
        events.extend(end.iter().map(|kind| Event {
            time: 0,
            session,
            kind: *kind,
            product: (*kind != Kind::CheckoutStart).then_some(wanted),
        }));
        let events = &mut events[first..];
        let mut elapsed = 0;
        for event in events.iter_mut() {
            event.time = elapsed;
            // Mostly seconds to minutes; now and then a visitor comes back after lunch.
            elapsed += if random.chance(20_000) {
                random.between(1_800, 9_000)
            } else {
                random.between(4, 240)
            };
        }
        let duration = events.last().map_or(0, |event| event.time);
        let start = match order {
            // The purchase is when the order is placed; a session that would begin
            // before the year has less to look at, in no time.
            Some(order) => shop.order_time(order) - duration,
            None => shop
                .time_at(session, shop.sessions)
                .min(YEAR_END - 1 - duration),
        };
        for event in events {
            event.time = (start + event.time).max(YEAR_START);
        }
    }

    fn push_row(
        &self,
        event: &Event,
        id: u64,
        random: &mut Random,
        buffer: &mut Vec<u8>,
        planted: &mut Planted,
    ) {
        let defect = random.defect(&PLANTED).filter(|(defect, _)| match defect {
            Defect::BadProduct => event.product.is_some(),
            Defect::NoCustomer | Defect::BadTime | Defect::BadType => true,
        });
        if let Some((_, name)) = defect {
            planted.add(name);
        }
        let defect = defect.map(|(defect, _)| defect);
        let mut of_session =
            Random::from_hash(hash(self.shop.seed, stream::SESSION, event.session));
        let (device, user_agent) = of_session.pick(&DEVICES);
        let referrer = of_session.pick(&REFERRERS);

        buffer.extend_from_slice(b"EVT-");
        push_padded(buffer, id + 1, 10);
        buffer.push(b',');
        if defect != Some(Defect::NoCustomer) {
            push_customer(buffer, self.shop.session_customer(event.session));
        }
        buffer.extend_from_slice(b",SES-");
        push_padded(buffer, event.session + 1, 9);
        buffer.push(b',');
        let kind = match defect {
            Some(Defect::BadType) => "clik",
            _ => event.kind.as_str(),
        };
        buffer.extend_from_slice(kind.as_bytes());
        buffer.push(b',');
        if defect == Some(Defect::BadTime) {
            let malformed: [&[u8]; 4] = [
                b"2024-13-45 10:00:00",
                b"not-a-timestamp",
                b"2024-02-30 25:61:00",
                b"0000-00-00 00:00:00",
            ];
            buffer.extend_from_slice(malformed[random.below(4) as usize]);
        } else {
            push_timestamp(buffer, event.time);
        }
        buffer.extend_from_slice(b",https://shop.example.com");
        self.push_page(event, random, buffer);
        buffer.push(b',');
        match event.product {
            Some(_) if defect == Some(Defect::BadProduct) => {
                buffer.extend_from_slice(b"PROD-X");
                push_padded(buffer, random.below(1000), 5);
                buffer.extend_from_slice(b",CAT-00");
            }
            Some(product) => {
                push_product(buffer, product);
                buffer.push(b',');
                push_category(buffer, product);
            }
            None => buffer.push(b','),
        }
        buffer.push(b',');
        buffer.extend_from_slice(referrer.as_bytes());
        buffer.push(b',');
        buffer.extend_from_slice(device.as_bytes());
        buffer.push(b',');
        buffer.extend_from_slice(user_agent.as_bytes());
        buffer.extend_from_slice(b",10");
        for _ in 0..3 {
            buffer.push(b'.');
            push_number(buffer, of_session.below(256));
        }
        buffer.push(b'\n');
    }

    fn push_page(&self, event: &Event, random: &mut Random, buffer: &mut Vec<u8>) {
        match (event.kind, event.product) {
            (Kind::PageView, _) => buffer.extend_from_slice(random.pick(&PAGES).as_bytes()),
            (Kind::ProductView, Some(product)) => {
                buffer.extend_from_slice(b"/product/");
                push_product(buffer, product);
            }
            (Kind::CheckoutStart, _) => buffer.extend_from_slice(b"/checkout"),
            (Kind::Purchase, _) => {
                buffer.extend_from_slice(b"/checkout/confirmation/");
                let order = self.shop.session_order(event.session).unwrap_or_default();
                push_order(buffer, order);
            }
            (Kind::ProductView | Kind::AddToCart | Kind::RemoveFromCart, _) => {
                buffer.extend_from_slice(b"/cart");
            }
        }
    }
}

/// Brings the lengths of visits to an exact sum, by looking around less or longer.
fn balance(visits: &mut [(Visit, u64)], rows: u64, random: &mut Random) {
    let mut sum: u64 = visits.iter().map(|(_, length)| *length).sum();
    while sum != rows {
        let chosen = random.below(visits.len() as u64) as usize;
        let (visit, length) = &mut visits[chosen];
        let shortest = match visit {
            Visit::Bounce => 1,
            Visit::Browse => 2,
            Visit::Cart => 4,
            Visit::Checkout => 5,
            Visit::Buy => 6,
        };
        if sum < rows {
            // A bounce stays one, unless there is nothing else in a tiny file.
            if *visit == Visit::Bounce {
                if random.chance(990_000) {
                    continue;
                }
                *visit = Visit::Browse;
            }
            *length += 1;
            sum += 1;
        } else if *length > shortest {
            *length -= 1;
            sum -= 1;
        } else if *visit != Visit::Bounce && random.chance(10_000) {
            // Every visit may be as short as possible already.
            sum -= *length - 1;
            (*visit, *length) = (Visit::Bounce, 1);
        }
    }
}

impl ChunkedFile for CustomerEvents {
    fn name(&self) -> &'static str {
        "customer_events.csv"
    }

    fn header(&self) -> &'static str {
        "event_id,customer_id,session_id,event_type,event_timestamp,page_url,product_id,category_id,\
         referrer_source,device_type,user_agent,ip_address"
    }

    fn rows(&self) -> u64 {
        self.shop.events
    }

    fn chunks(&self) -> u64 {
        self.chunks.count()
    }

    fn rows_of_chunk(&self, chunk: u64) -> u64 {
        let range = self.chunks.range(chunk);
        range.end - range.start
    }

    fn write_chunk(&self, chunk: u64, buffer: &mut Vec<u8>, planted: &mut Planted) {
        let rows = self.chunks.range(chunk);
        let count = rows.end - rows.start;
        let duplicates = count / DUPLICATE_EVERY;
        let distinct = count - duplicates;
        let sessions = self.chunks.of(self.shop.sessions, chunk);
        let mut random = self.shop.random(stream::EVENTS, chunk);
        let mut events = self.sessions(sessions, distinct, &mut random);
        // A log has what many visitors do at the same time. The sort is stable: events of
        // one session stay in their order.
        events.sort_by_key(|event| event.time);
        for (index, event) in events.iter().enumerate() {
            let id = rows.start + index as u64;
            let start = buffer.len();
            self.push_row(event, id, &mut random, buffer, planted);
            // Evenly spread: exactly `duplicates` of the rows.
            let before = index as u64 * duplicates / distinct;
            let after = (index as u64 + 1) * duplicates / distinct;
            if after > before {
                let end = buffer.len();
                buffer.extend_from_within(start..end);
                planted.add(DUPLICATES);
            }
        }
    }
}
