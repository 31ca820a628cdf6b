//! Source files of the `ecommerce` sample: a web shop in 2024.
//!
//! The four files know of each other: a session that ends in a purchase names an order
//! that the payments have, for the same customer and at the same time; its amount is
//! the product's price times a quantity; tickets ask about orders of their customer.
//! Rows come roughly in the order of their time, as logs do.
//!
//! Some rows are dirty on purpose (`PLANTED` in each module), at most one defect per row.

mod calendar;
mod events;
mod inventory;
mod payments;
mod shop;
mod tickets;

use crate::generate::ChunkedFile;
use shop::Shop;

/// Name of the sample.
pub const NAME: &str = "ecommerce";

/// Rows of `customer_events.csv` at scale 1.
pub const EVENTS: u64 = 2_000_000;
/// Rows of `payment_transactions.csv` at scale 1.
pub const PAYMENTS: u64 = 1_000_000;
/// Rows of `inventory_snapshots.csv` at scale 1.
pub const INVENTORY: u64 = 500_000;
/// Rows of `support_tickets.csv` at scale 1.
pub const TICKETS: u64 = 300_000;

/// The four files.
pub(crate) fn files(scale: f64, seed: u64) -> Vec<Box<dyn ChunkedFile>> {
    let shop = Shop::new(scale, seed);
    vec![
        Box::new(events::CustomerEvents::new(shop.clone())),
        Box::new(payments::PaymentTransactions::new(shop.clone())),
        Box::new(inventory::InventorySnapshots::new(shop.clone())),
        Box::new(tickets::SupportTickets::new(shop)),
    ]
}

/// A number of things cut into chunks of about `size`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunks {
    total: u64,
    count: u64,
}

impl Chunks {
    pub(crate) fn new(total: u64, size: u64) -> Self {
        Self {
            total,
            count: total.div_ceil(size),
        }
    }

    pub(crate) fn count(self) -> u64 {
        self.count
    }

    /// The things of one chunk.
    pub(crate) fn range(self, chunk: u64) -> std::ops::Range<u64> {
        self.of(self.total, chunk)
    }

    /// The share of one chunk in other things that are cut in the same proportion.
    pub(crate) fn of(self, total: u64, chunk: u64) -> std::ops::Range<u64> {
        let cut = |chunk: u64| {
            (u128::from(total) * u128::from(chunk) / u128::from(self.count.max(1))) as u64
        };
        cut(chunk)..cut(chunk + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use super::*;
    use crate::generate::{GenerateOptions, GenerateReport, generate};
    use crate::sink::FolderSink;

    type Row = BTreeMap<String, String>;

    fn generated(scale: f64, seed: u64, threads: usize) -> (tempfile::TempDir, GenerateReport) {
        let folder = tempfile::tempdir().unwrap();
        let options = GenerateOptions {
            scale,
            seed,
            threads,
        };
        let sink = FolderSink::new(folder.path());
        let report = generate(NAME, &options, &sink, &|_| {}).unwrap();
        (folder, report)
    }

    fn rows(folder: &tempfile::TempDir, file: &str) -> Vec<Row> {
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        lines
            .map(|line| {
                // No field that is generated has a comma, a quote or a line break in it.
                let fields: Vec<&str> = line.split(',').collect();
                assert_eq!(fields.len(), header.len(), "{line}");
                header
                    .iter()
                    .zip(fields)
                    .map(|(name, field)| (name.to_string(), field.to_string()))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn files_have_their_exact_rows_and_do_not_depend_on_threads() {
        let (one, report) = generated(0.013, 7, 1);
        let (three, again) = generated(0.013, 7, 3);
        assert_eq!(report, again);
        let counts: Vec<(&str, u64)> = report
            .files
            .iter()
            .map(|file| (file.file.as_str(), file.rows))
            .collect();
        assert_eq!(
            counts,
            [
                ("customer_events.csv", 26_000),
                ("payment_transactions.csv", 13_000),
                ("inventory_snapshots.csv", 6_500),
                ("support_tickets.csv", 3_900),
            ]
        );
        for file in &report.files {
            let bytes = std::fs::read(one.path().join(&file.file)).unwrap();
            assert_eq!(bytes.len() as u64, file.bytes);
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(lines, file.rows + 1);
            assert!(
                bytes == std::fs::read(three.path().join(&file.file)).unwrap(),
                "{}",
                file.file
            );
        }
        let (other, _) = generated(0.013, 8, 2);
        assert_ne!(
            std::fs::read(one.path().join("customer_events.csv")).unwrap(),
            std::fs::read(other.path().join("customer_events.csv")).unwrap()
        );
    }

    #[test]
    fn scale_one_has_the_documented_rows() {
        let counts: Vec<u64> = files(1.0, 42).iter().map(|file| file.rows()).collect();
        assert_eq!(counts, [EVENTS, PAYMENTS, INVENTORY, TICKETS]);
        let in_chunks = files(1.0, 42).iter().all(|file| {
            (0..file.chunks())
                .map(|chunk| file.rows_of_chunk(chunk))
                .sum::<u64>()
                == file.rows()
        });
        assert!(in_chunks);
    }

    #[test]
    fn the_smallest_and_an_odd_scale_work() {
        for scale in [GenerateOptions::LEAST_SCALE, 0.00037, 0.0021] {
            let (folder, report) = generated(scale, 1, 2);
            for file in &report.files {
                assert!(file.rows > 0);
                assert_eq!(rows(&folder, &file.file).len() as u64, file.rows);
            }
        }
        let options = GenerateOptions {
            scale: 0.0,
            ..GenerateOptions::default()
        };
        let error = generate(NAME, &options, &FolderSink::new("/nowhere"), &|_| {}).unwrap_err();
        assert_eq!(
            error.to_string(),
            "scale 0 is not valid: choose a number from 0.0001 to 1000"
        );
    }

    fn planted(report: &GenerateReport, file: usize, defect: &str) -> u64 {
        let counts = &report.files[file].planted;
        assert!(counts.contains_key(defect), "{defect}: {counts:?}");
        counts[defect]
    }

    fn count(rows: &[Row], dirty: impl Fn(&Row) -> bool) -> u64 {
        rows.iter().filter(|row| dirty(row)).count() as u64
    }

    fn is_time(text: &str) -> bool {
        text.len() == 19
            && text.starts_with("2024-")
            && text[5..7].parse::<u8>().unwrap() <= 12
            && text[11..13].parse::<u8>().unwrap() <= 23
    }

    #[test]
    fn events_are_realistic_sessions_with_the_planted_defects() {
        let (folder, report) = generated(0.05, 42, 2);
        let events = rows(&folder, "customer_events.csv");
        let ids: HashSet<&String> = events.iter().map(|row| &row["event_id"]).collect();
        assert_eq!(
            (events.len() - ids.len()) as u64,
            planted(&report, 0, "duplicate row")
        );
        let found = [
            (
                "customer_id is empty",
                count(&events, |row| row["customer_id"].is_empty()),
            ),
            (
                "malformed event_timestamp",
                count(&events, |row| !is_time(&row["event_timestamp"])),
            ),
            (
                "unknown event_type",
                count(&events, |row| {
                    ![
                        "page_view",
                        "product_view",
                        "add_to_cart",
                        "remove_from_cart",
                        "checkout_start",
                        "purchase",
                    ]
                    .contains(&row["event_type"].as_str())
                }),
            ),
            (
                "unknown product_id",
                count(&events, |row| row["product_id"].starts_with("PROD-X")),
            ),
        ];
        for (defect, count) in found {
            // A duplicate of a dirty row is dirty, too, and counted as a duplicate only.
            let dirty = planted(&report, 0, defect);
            assert!(
                dirty > 0 && (dirty..=dirty + 5).contains(&count),
                "{defect}: planted {dirty}, found {count}"
            );
        }

        let mut sessions: HashMap<&str, Vec<&Row>> = HashMap::new();
        for row in &events {
            sessions.entry(&row["session_id"]).or_default().push(row);
        }
        assert_eq!(sessions.len(), 25_000);
        let mut converted = 0;
        for (session, rows) in &sessions {
            for column in [
                "device_type",
                "user_agent",
                "ip_address",
                "referrer_source",
                "customer_id",
            ] {
                let values: HashSet<&str> = rows
                    .iter()
                    .map(|row| row[column].as_str())
                    .filter(|value| !value.is_empty())
                    .collect();
                assert!(values.len() <= 1, "{session} {column} {values:?}");
            }
            let times: Vec<&str> = rows
                .iter()
                .map(|row| row["event_timestamp"].as_str())
                .filter(|time| is_time(time))
                .collect();
            assert!(times.is_sorted(), "{session}");
            converted += u64::from(rows.iter().any(|row| row["event_type"] == "purchase"));
        }
        assert!((1_500..3_000).contains(&converted), "{converted}");
        let with_product = events.iter().filter(|row| !row["product_id"].is_empty());
        assert!(with_product.clone().count() > 20_000);
        for row in with_product {
            assert!(!row["category_id"].is_empty(), "{row:?}");
        }
    }

    #[test]
    fn purchases_name_orders_that_were_paid_by_the_same_customer() {
        let (folder, _) = generated(0.02, 3, 2);
        let payments = rows(&folder, "payment_transactions.csv");
        let by_order: HashMap<&str, &Row> = payments
            .iter()
            .filter(|row| row["customer_id"].starts_with("CUST-0"))
            .map(|row| (row["order_id"].as_str(), row))
            .collect();
        let mut checked = 0;
        for event in rows(&folder, "customer_events.csv") {
            if event["event_type"] != "purchase" || event["customer_id"].is_empty() {
                continue;
            }
            let order = event["page_url"].rsplit('/').next().unwrap();
            assert!(order.starts_with("ORD-"), "{event:?}");
            let Some(payment) = by_order.get(order) else {
                continue;
            };
            assert_eq!(payment["customer_id"], event["customer_id"]);
            if is_time(&event["event_timestamp"]) {
                assert_eq!(
                    payment["transaction_timestamp"][..10],
                    event["event_timestamp"][..10]
                );
            }
            checked += 1;
        }
        assert!(checked > 500, "{checked}");
    }

    #[test]
    fn payments_have_the_planted_defects() {
        let (folder, report) = generated(0.05, 42, 2);
        let payments = rows(&folder, "payment_transactions.csv");
        let distinct = |column: &str| {
            let values: HashSet<&str> = payments.iter().map(|row| row[column].as_str()).collect();
            values.len() as u64
        };
        let duplicates = payments.len() as u64 - distinct("transaction_id");
        let empty = count(&payments, |row| row["transaction_id"].is_empty());
        assert_eq!(
            duplicates - (empty - 1),
            planted(&report, 1, "duplicate row")
        );
        let found = [
            (
                "malformed amount",
                count(&payments, |row| row["amount"].parse::<f64>().is_err()),
            ),
            (
                "risk_score out of range",
                count(&payments, |row| {
                    !(0..=100).contains(&row["risk_score"].parse::<i64>().unwrap())
                }),
            ),
            (
                "customer_id is empty",
                count(&payments, |row| row["customer_id"].is_empty()),
            ),
            (
                "unknown customer_id",
                count(&payments, |row| row["customer_id"].starts_with("CUST-X")),
            ),
            (
                "unknown payment_status",
                count(&payments, |row| {
                    !["completed", "pending", "failed", "refunded", "cancelled"]
                        .contains(&row["payment_status"].as_str())
                }),
            ),
        ];
        for (defect, count) in found {
            let dirty = planted(&report, 1, defect);
            assert!(
                dirty > 0 && (dirty..=dirty + 5).contains(&count),
                "{defect}: planted {dirty}, found {count}"
            );
        }
    }

    #[test]
    fn inventory_and_tickets_are_consistent() {
        let (folder, report) = generated(0.05, 42, 2);
        let inventory = rows(&folder, "inventory_snapshots.csv");
        let products: HashSet<&str> = inventory
            .iter()
            .map(|row| row["product_id"].as_str())
            .collect();
        assert_eq!(products.len(), 500);
        for row in &inventory {
            let number = |column: &str| row[column].parse::<i64>().unwrap();
            if number("quantity_on_hand") >= 0 {
                assert_eq!(
                    number("quantity_available"),
                    number("quantity_on_hand") - number("quantity_reserved")
                );
            }
            assert!(row["last_received_date"] <= row["snapshot_date"], "{row:?}");
        }
        assert!(planted(&report, 2, "negative quantity_on_hand") > 0);
        assert!(planted(&report, 2, "malformed unit_cost") > 0);
        assert!(planted(&report, 2, "warehouse_id is empty") > 0);

        let tickets = rows(&folder, "support_tickets.csv");
        let backwards = count(&tickets, |row| {
            !row["resolution_timestamp"].is_empty()
                && row["resolution_timestamp"] < row["created_timestamp"]
        });
        let dirty = planted(&report, 3, "resolved before created");
        assert!(dirty > 0 && (dirty..dirty + 5).contains(&backwards));
        for row in &tickets {
            let open = ["open", "pending"].contains(&row["status"].as_str());
            assert_eq!(open, row["resolution_timestamp"].is_empty(), "{row:?}");
        }
        assert!(planted(&report, 3, "satisfaction_score out of range") > 0);
        assert!(planted(&report, 3, "unknown priority") > 0);
        assert!(planted(&report, 3, "unknown customer_id") > 0);
    }
}
