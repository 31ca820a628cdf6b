#!/usr/bin/env python3
"""The e-commerce pipeline in DuckDB: the same steps, tables and checks as pipelines/ecommerce.

    pip install duckdb==1.5.5
    python benchmarks/ecommerce_duckdb.py run --source FOLDER --database FILE [--threads 2]
    python benchmarks/ecommerce_duckdb.py compare --database FILE --gold FOLDER

`run` loads the four CSV files and builds bronze, silver and gold in a new database file,
queries the checks, and prints the seconds of each step (`--json` for programs).
`compare` reads gold tables exported as CSV (`customer_summary.csv`, …) and fails unless
they hold the same rows.
"""

import argparse
import json
import math
import os
import sys
import time

import duckdb

EVENT_TYPES = (
    "'page_view', 'product_view', 'add_to_cart', 'remove_from_cart', 'checkout_start', 'purchase'"
)
STATUSES = "'completed', 'pending', 'failed', 'refunded', 'cancelled'"

# Step by step: (table, query). {source} is the folder of the CSV files.
STEPS = [
    (
        "bronze.customer_events",
        """
        SELECT event_id, customer_id, session_id, event_type,
            TRY_CAST(event_timestamp AS TIMESTAMP) AS event_timestamp,
            page_url, product_id, category_id, referrer_source, device_type, user_agent,
            ip_address,
            CASE WHEN event_timestamp IS NOT NULL
                AND TRY_CAST(event_timestamp AS TIMESTAMP) IS NULL
                THEN 'event_timestamp=' || event_timestamp END AS malformed,
            now()::TIMESTAMP AS ingested_at, 'web_tracker' AS source_system
        FROM read_csv('{source}/customer_events.csv', header = true, all_varchar = true)
        """,
    ),
    (
        "bronze.payment_transactions",
        """
        SELECT transaction_id, order_id, customer_id, payment_method, payment_status,
            TRY_CAST(amount AS DECIMAL(12, 2)) AS amount, currency,
            TRY_CAST(transaction_timestamp AS TIMESTAMP) AS transaction_timestamp,
            processor_response_code, TRY_CAST(gateway_fee AS DECIMAL(12, 2)) AS gateway_fee,
            merchant_id, billing_country, TRY_CAST(risk_score AS INTEGER) AS risk_score,
            CASE
                WHEN amount IS NOT NULL AND TRY_CAST(amount AS DECIMAL(12, 2)) IS NULL
                THEN 'amount=' || amount
                WHEN transaction_timestamp IS NOT NULL
                    AND TRY_CAST(transaction_timestamp AS TIMESTAMP) IS NULL
                THEN 'transaction_timestamp=' || transaction_timestamp
                WHEN gateway_fee IS NOT NULL AND TRY_CAST(gateway_fee AS DECIMAL(12, 2)) IS NULL
                THEN 'gateway_fee=' || gateway_fee
                WHEN risk_score IS NOT NULL AND TRY_CAST(risk_score AS INTEGER) IS NULL
                THEN 'risk_score=' || risk_score
            END AS malformed,
            now()::TIMESTAMP AS ingested_at, 'payment_provider' AS source_system
        FROM read_csv('{source}/payment_transactions.csv', header = true, all_varchar = true)
        """,
    ),
    (
        "bronze.inventory_snapshots",
        """
        SELECT snapshot_id, product_id, warehouse_id,
            TRY_CAST(snapshot_date AS DATE) AS snapshot_date,
            TRY_CAST(quantity_on_hand AS INTEGER) AS quantity_on_hand,
            TRY_CAST(quantity_reserved AS INTEGER) AS quantity_reserved,
            TRY_CAST(quantity_available AS INTEGER) AS quantity_available,
            TRY_CAST(reorder_point AS INTEGER) AS reorder_point,
            TRY_CAST(reorder_quantity AS INTEGER) AS reorder_quantity, supplier_id,
            TRY_CAST(last_received_date AS DATE) AS last_received_date,
            TRY_CAST(unit_cost AS DECIMAL(12, 2)) AS unit_cost,
            CASE
                WHEN unit_cost IS NOT NULL AND TRY_CAST(unit_cost AS DECIMAL(12, 2)) IS NULL
                THEN 'unit_cost=' || unit_cost
                WHEN snapshot_date IS NOT NULL AND TRY_CAST(snapshot_date AS DATE) IS NULL
                THEN 'snapshot_date=' || snapshot_date
                WHEN quantity_on_hand IS NOT NULL
                    AND TRY_CAST(quantity_on_hand AS INTEGER) IS NULL
                THEN 'quantity_on_hand=' || quantity_on_hand
            END AS malformed,
            now()::TIMESTAMP AS ingested_at, 'warehouse_system' AS source_system
        FROM read_csv('{source}/inventory_snapshots.csv', header = true, all_varchar = true)
        """,
    ),
    (
        "bronze.support_tickets",
        """
        SELECT ticket_id, customer_id, order_id, ticket_type, priority, status,
            TRY_CAST(created_timestamp AS TIMESTAMP) AS created_timestamp,
            TRY_CAST(first_response_timestamp AS TIMESTAMP) AS first_response_timestamp,
            TRY_CAST(resolution_timestamp AS TIMESTAMP) AS resolution_timestamp,
            agent_id, TRY_CAST(satisfaction_score AS INTEGER) AS satisfaction_score,
            subject, channel,
            CASE
                WHEN created_timestamp IS NOT NULL
                    AND TRY_CAST(created_timestamp AS TIMESTAMP) IS NULL
                THEN 'created_timestamp=' || created_timestamp
                WHEN first_response_timestamp IS NOT NULL
                    AND TRY_CAST(first_response_timestamp AS TIMESTAMP) IS NULL
                THEN 'first_response_timestamp=' || first_response_timestamp
                WHEN resolution_timestamp IS NOT NULL
                    AND TRY_CAST(resolution_timestamp AS TIMESTAMP) IS NULL
                THEN 'resolution_timestamp=' || resolution_timestamp
                WHEN satisfaction_score IS NOT NULL
                    AND TRY_CAST(satisfaction_score AS INTEGER) IS NULL
                THEN 'satisfaction_score=' || satisfaction_score
            END AS malformed,
            now()::TIMESTAMP AS ingested_at, 'help_desk' AS source_system
        FROM read_csv('{source}/support_tickets.csv', header = true, all_varchar = true)
        """,
    ),
    (
        "silver.customer_sessions",
        f"""
        WITH events AS (
            SELECT DISTINCT event_id, customer_id, session_id, event_type, event_timestamp,
                product_id, device_type, referrer_source
            FROM bronze.customer_events
            WHERE customer_id IS NOT NULL AND session_id IS NOT NULL
                AND event_timestamp IS NOT NULL AND event_type IN ({EVENT_TYPES})
        ),
        sessions AS (
            SELECT customer_id, session_id,
                MIN(event_timestamp) AS session_start, MAX(event_timestamp) AS session_end,
                COUNT(*) AS total_events,
                COUNT(*) FILTER (event_type = 'page_view') AS page_views,
                COUNT(*) FILTER (event_type = 'product_view') AS product_views,
                COUNT(*) FILTER (event_type = 'add_to_cart') AS add_to_cart_events,
                COUNT(*) FILTER (event_type = 'remove_from_cart') AS remove_from_cart_events,
                COUNT(*) FILTER (event_type = 'checkout_start') AS checkout_starts,
                COUNT(*) FILTER (event_type = 'purchase') AS purchases,
                COUNT(DISTINCT product_id) FILTER (event_type = 'product_view')
                    AS unique_products_viewed,
                MIN(device_type) AS device_type, MIN(referrer_source) AS referrer_source
            FROM events
            GROUP BY customer_id, session_id
        )
        SELECT customer_id, session_id, session_start, session_end,
            (epoch(session_end) - epoch(session_start))::BIGINT AS session_duration_seconds,
            total_events, page_views, product_views, add_to_cart_events,
            remove_from_cart_events, checkout_starts, purchases, unique_products_viewed,
            purchases > 0 AS is_converted,
            add_to_cart_events > 0 AND purchases = 0 AS is_abandoned,
            total_events = 1 AS is_bounce,
            device_type, referrer_source, now()::TIMESTAMP AS processed_at
        FROM sessions
        """,
    ),
    (
        "silver.payment_analysis",
        f"""
        WITH transactions AS (
            SELECT DISTINCT transaction_id, order_id, customer_id, payment_method,
                payment_status, amount, upper(currency) AS currency, transaction_timestamp,
                processor_response_code, gateway_fee, merchant_id, billing_country,
                CASE WHEN risk_score BETWEEN 0 AND 100 THEN risk_score END AS risk_score
            FROM bronze.payment_transactions
            WHERE transaction_id IS NOT NULL AND customer_id IS NOT NULL
                AND amount IS NOT NULL AND transaction_timestamp IS NOT NULL
                AND payment_status IN ({STATUSES})
        ),
        customers AS (
            SELECT customer_id, COUNT(*) AS transaction_count, SUM(amount) AS total_amount
            FROM transactions GROUP BY customer_id
        ),
        timed AS (
            SELECT transactions.*,
                hour(transaction_timestamp) AS transaction_hour,
                dayofweek(transaction_timestamp) AS day_of_week,
                customers.transaction_count AS customer_transaction_count,
                customers.total_amount AS customer_total_amount
            FROM transactions JOIN customers USING (customer_id)
        )
        SELECT transaction_id, order_id, customer_id, payment_method, payment_status, amount,
            gateway_fee, (amount - coalesce(gateway_fee, 0))::DECIMAL(12, 2) AS net_amount,
            currency, transaction_timestamp, transaction_timestamp::DATE AS transaction_date,
            transaction_hour::INTEGER AS transaction_hour, day_of_week::INTEGER AS day_of_week,
            processor_response_code, merchant_id, billing_country, risk_score,
            payment_status = 'completed' AS is_successful,
            payment_status = 'failed' AS is_failed,
            payment_status = 'refunded' AS is_refunded,
            amount > 500 AS is_high_value,
            transaction_hour >= 23 OR transaction_hour < 6 AS is_off_hours,
            day_of_week IN (0, 6) AS is_weekend,
            coalesce(risk_score >= 80, false) AS is_high_risk,
            customer_transaction_count,
            customer_total_amount::DECIMAL(18, 2) AS customer_total_amount,
            customer_total_amount::DOUBLE / customer_transaction_count
                AS customer_average_amount,
            customer_transaction_count >= 5
                AND amount * customer_transaction_count > 3 * customer_total_amount
                AS is_unusually_large,
            now()::TIMESTAMP AS processed_at
        FROM timed
        """,
    ),
    (
        "silver.inventory_health",
        """
        WITH snapshots AS (
            SELECT DISTINCT snapshot_id, product_id, warehouse_id, snapshot_date,
                quantity_on_hand, quantity_reserved, quantity_available, reorder_point,
                reorder_quantity, supplier_id, last_received_date, unit_cost
            FROM bronze.inventory_snapshots
            WHERE product_id IS NOT NULL AND warehouse_id IS NOT NULL
                AND snapshot_date IS NOT NULL AND quantity_on_hand >= 0
        ),
        history AS (
            SELECT *,
                lag(quantity_on_hand) OVER (
                    PARTITION BY product_id, warehouse_id ORDER BY snapshot_date, snapshot_id
                ) AS previous_quantity,
                row_number() OVER (
                    PARTITION BY product_id, warehouse_id
                    ORDER BY snapshot_date DESC, snapshot_id DESC
                ) AS age_rank
            FROM snapshots
        ),
        pairs AS (
            SELECT product_id, warehouse_id,
                SUM(greatest(previous_quantity - quantity_on_hand, 0)) AS units_sold,
                date_diff('day', MIN(snapshot_date), MAX(snapshot_date)) AS days_observed,
                MAX(unit_cost) AS known_unit_cost
            FROM history GROUP BY product_id, warehouse_id
        ),
        latest AS (
            SELECT history.*, pairs.known_unit_cost,
                CASE WHEN days_observed > 0 THEN units_sold::DOUBLE / days_observed ELSE 0 END
                    AS average_daily_sales
            FROM history JOIN pairs USING (product_id, warehouse_id)
            WHERE age_rank = 1
        ),
        stock AS (
            SELECT *, CASE WHEN average_daily_sales > 0
                THEN quantity_on_hand::DOUBLE / average_daily_sales END AS days_of_stock
            FROM latest
        )
        SELECT product_id, warehouse_id, snapshot_date, quantity_on_hand, quantity_reserved,
            quantity_available, reorder_point, reorder_quantity, supplier_id,
            last_received_date, average_daily_sales, days_of_stock,
            coalesce(days_of_stock < 7, quantity_on_hand = 0) AS is_low_stock,
            quantity_available <= reorder_point AS needs_reorder,
            coalesce(unit_cost, known_unit_cost) AS unit_cost,
            (quantity_on_hand * coalesce(unit_cost, known_unit_cost))::DECIMAL(18, 2)
                AS inventory_value,
            now()::TIMESTAMP AS processed_at
        FROM stock
        """,
    ),
    (
        "silver.support_metrics",
        """
        WITH tickets AS (
            SELECT DISTINCT ticket_id, customer_id, order_id, ticket_type,
                CASE WHEN priority IN ('low', 'medium', 'high', 'urgent')
                    THEN priority ELSE 'medium' END AS priority,
                status, created_timestamp,
                CASE WHEN first_response_timestamp >= created_timestamp
                    THEN first_response_timestamp END AS first_response_timestamp,
                CASE WHEN resolution_timestamp >= created_timestamp
                    THEN resolution_timestamp END AS resolution_timestamp,
                agent_id,
                CASE WHEN satisfaction_score BETWEEN 1 AND 5 THEN satisfaction_score END
                    AS satisfaction_score,
                subject, channel
            FROM bronze.support_tickets
            WHERE ticket_id IS NOT NULL AND customer_id IS NOT NULL
                AND created_timestamp IS NOT NULL
        ),
        timed AS (
            SELECT *,
                epoch(first_response_timestamp) - epoch(created_timestamp) AS response_seconds,
                epoch(resolution_timestamp) - epoch(created_timestamp) AS resolution_seconds
            FROM tickets
        ),
        agents AS (
            SELECT agent_id, COUNT(*) AS agent_tickets,
                AVG(response_seconds / 3600) AS agent_average_response_hours,
                AVG(resolution_seconds / 3600) AS agent_average_resolution_hours,
                AVG(satisfaction_score) AS agent_average_satisfaction
            FROM timed GROUP BY agent_id
        )
        SELECT timed.* EXCLUDE (response_seconds, resolution_seconds),
            response_seconds / 3600 AS response_time_hours,
            resolution_seconds / 3600 AS resolution_time_hours,
            response_seconds <= CASE priority WHEN 'urgent' THEN 900 WHEN 'high' THEN 3600
                WHEN 'medium' THEN 14400 ELSE 86400 END AS meets_response_sla,
            resolution_seconds <= CASE priority WHEN 'urgent' THEN 14400 WHEN 'high' THEN 86400
                WHEN 'medium' THEN 259200 ELSE 604800 END AS meets_resolution_sla,
            agent_tickets, agent_average_response_hours, agent_average_resolution_hours,
            agent_average_satisfaction, now()::TIMESTAMP AS processed_at
        FROM timed LEFT JOIN agents USING (agent_id)
        """,
    ),
    (
        "gold.customer_summary",
        """
        WITH sessions AS (
            SELECT customer_id, COUNT(*) AS total_sessions,
                COUNT(*) FILTER (is_converted) AS converted_sessions
            FROM silver.customer_sessions GROUP BY customer_id
        ),
        orders AS (
            SELECT customer_id, COUNT(DISTINCT order_id) AS total_orders,
                SUM(amount) AS total_ltv, MAX(transaction_date) AS last_order_date
            FROM silver.payment_analysis WHERE is_successful GROUP BY customer_id
        ),
        tickets AS (
            SELECT customer_id, COUNT(*) AS support_tickets_count
            FROM silver.support_metrics GROUP BY customer_id
        ),
        customers AS (
            SELECT customer_id FROM sessions UNION SELECT customer_id FROM orders
            UNION SELECT customer_id FROM tickets
        )
        SELECT customer_id,
            coalesce(total_sessions, 0) AS total_sessions,
            coalesce(total_orders, 0) AS total_orders,
            coalesce(total_ltv, 0)::DECIMAL(18, 2) AS total_ltv,
            total_ltv::DOUBLE / total_orders AS avg_order_value,
            converted_sessions::DOUBLE / total_sessions AS conversion_rate,
            coalesce(support_tickets_count, 0) AS support_tickets_count,
            last_order_date,
            CASE
                WHEN last_order_date IS NULL OR last_order_date < (
                    SELECT MAX(transaction_date) FROM silver.payment_analysis
                ) - INTERVAL 90 DAY THEN 'At-Risk'
                WHEN total_ltv >= 5000 THEN 'VIP'
                ELSE 'Regular'
            END AS customer_segment,
            now()::TIMESTAMP AS processed_at
        FROM customers LEFT JOIN sessions USING (customer_id)
            LEFT JOIN orders USING (customer_id) LEFT JOIN tickets USING (customer_id)
        """,
    ),
    (
        "gold.daily_metrics",
        """
        SELECT transaction_date AS metric_date,
            coalesce(SUM(amount) FILTER (is_successful), 0)::DECIMAL(18, 2) AS total_revenue,
            COUNT(DISTINCT order_id) FILTER (is_successful) AS total_orders,
            (SUM(amount) FILTER (is_successful))::DOUBLE
                / nullif(COUNT(DISTINCT order_id) FILTER (is_successful), 0) AS avg_order_value,
            COUNT(DISTINCT customer_id) AS total_customers,
            COUNT(*) FILTER (is_high_risk AND (is_unusually_large OR is_off_hours))
                AS fraud_flag_count,
            now()::TIMESTAMP AS processed_at
        FROM silver.payment_analysis GROUP BY transaction_date
        """,
    ),
    (
        "gold.product_summary",
        """
        WITH events AS (
            SELECT DISTINCT event_id, event_type, product_id,
                CASE WHEN event_type = 'purchase' THEN split_part(page_url, '/', 6) END
                    AS order_id
            FROM bronze.customer_events
            WHERE product_id IS NOT NULL AND customer_id IS NOT NULL
                AND session_id IS NOT NULL AND event_timestamp IS NOT NULL
                AND event_type IN ('product_view', 'purchase')
        ),
        paid_orders AS (
            SELECT order_id, SUM(amount) AS amount
            FROM silver.payment_analysis WHERE is_successful GROUP BY order_id
        ),
        interest AS (
            SELECT product_id,
                COUNT(*) FILTER (event_type = 'product_view') AS product_views,
                COUNT(*) FILTER (event_type = 'purchase') AS product_purchases,
                SUM(amount) AS revenue_generated
            FROM events LEFT JOIN paid_orders USING (order_id)
            GROUP BY product_id
        ),
        stock AS (
            SELECT product_id, SUM(quantity_on_hand) AS current_stock_level
            FROM silver.inventory_health GROUP BY product_id
        )
        SELECT product_id,
            coalesce(product_views, 0) AS product_views,
            coalesce(product_purchases, 0) AS product_purchases,
            product_purchases::DOUBLE / nullif(product_views, 0) AS conversion_rate,
            coalesce(revenue_generated, 0)::DECIMAL(18, 2) AS revenue_generated,
            current_stock_level::BIGINT AS current_stock_level,
            now()::TIMESTAMP AS processed_at
        FROM stock LEFT JOIN interest USING (product_id)
        """,
    ),
]


def share(table, condition):
    """Rows of a table that do not fulfil a condition, and all rows."""
    return (
        f"SELECT COUNT(*) FILTER ((({condition})) IS NOT TRUE), COUNT(*) FROM {table}"
    )


def unique(table, columns):
    """Rows beyond the first of their key, and all rows."""
    no_nulls = " AND ".join(f"{column} IS NOT NULL" for column in columns.split(", "))
    return (
        f"SELECT coalesce((SELECT SUM(n - 1) FROM (SELECT COUNT(*) AS n FROM {table} "
        f"WHERE {no_nulls} GROUP BY {columns} HAVING COUNT(*) > 1)), 0), "
        f"(SELECT COUNT(*) FROM {table})"
    )


def related(table, column, other):
    """Rows whose key another table lacks, and all rows."""
    return (
        f"SELECT COUNT(*) FILTER ({column} IS NOT NULL AND {column} NOT IN "
        f"(SELECT {column} FROM {other} WHERE {column} IS NOT NULL)), COUNT(*) FROM {table}"
    )


def equal(left, right):
    """One failure when two single values differ."""
    return f"SELECT (({left}) IS DISTINCT FROM ({right}))::INTEGER, 1"


CLEAN_EVENTS = (
    "customer_id IS NOT NULL AND session_id IS NOT NULL AND event_timestamp IS NOT NULL "
    f"AND event_type IN ({EVENT_TYPES})"
)
CLEAN_PAYMENTS = (
    "transaction_id IS NOT NULL AND customer_id IS NOT NULL AND amount IS NOT NULL "
    f"AND transaction_timestamp IS NOT NULL AND payment_status IN ({STATUSES})"
)

# After each table: (allowed share of failures, query for (failures, rows)).
CHECKS = {
    "bronze.customer_events": [
        (0, share("bronze.customer_events", "event_id IS NOT NULL AND session_id IS NOT NULL")),
        (0.01, share("bronze.customer_events", "customer_id IS NOT NULL")),
        (0.005, share("bronze.customer_events", "event_timestamp IS NOT NULL")),
        (0.005, share("bronze.customer_events", f"event_type IN ({EVENT_TYPES})")),
        (0.01, unique("bronze.customer_events", "event_id")),
    ],
    "bronze.payment_transactions": [
        (0, share("bronze.payment_transactions",
                  "order_id IS NOT NULL AND transaction_timestamp IS NOT NULL")),
        (0.005, share("bronze.payment_transactions", "transaction_id IS NOT NULL")),
        (0.01, share("bronze.payment_transactions", "customer_id IS NOT NULL")),
        (0.01, share("bronze.payment_transactions", "amount IS NOT NULL")),
        (0.005, share("bronze.payment_transactions", "risk_score BETWEEN 0 AND 100")),
        (0.005, share("bronze.payment_transactions", f"payment_status IN ({STATUSES})")),
        (0.01, unique("bronze.payment_transactions", "transaction_id")),
    ],
    "bronze.inventory_snapshots": [
        (0, share("bronze.inventory_snapshots", "snapshot_id IS NOT NULL AND product_id IS NOT "
                  "NULL AND snapshot_date IS NOT NULL")),
        (0.005, share("bronze.inventory_snapshots", "warehouse_id IS NOT NULL")),
        (0.01, share("bronze.inventory_snapshots", "unit_cost IS NOT NULL")),
        (0.005, share("bronze.inventory_snapshots", "quantity_on_hand >= 0")),
        (0.01, unique("bronze.inventory_snapshots", "snapshot_id")),
    ],
    "bronze.support_tickets": [
        (0, share("bronze.support_tickets",
                  "ticket_id IS NOT NULL AND created_timestamp IS NOT NULL")),
        (0.01, share("bronze.support_tickets", "customer_id IS NOT NULL")),
        (0.005, share("bronze.support_tickets",
                      "satisfaction_score IS NULL OR satisfaction_score BETWEEN 1 AND 5")),
        (0.005, share("bronze.support_tickets",
                      "priority IN ('low', 'medium', 'high', 'urgent')")),
        (0.01, unique("bronze.support_tickets", "ticket_id")),
    ],
    "silver.customer_sessions": [
        (0, share("silver.customer_sessions", "customer_id IS NOT NULL AND session_id IS NOT "
                  "NULL AND session_start IS NOT NULL AND session_end IS NOT NULL")),
        (0, share("silver.customer_sessions",
                  "session_duration_seconds >= 0 AND session_end >= session_start")),
        (0, share("silver.customer_sessions", "total_events = page_views + product_views + "
                  "add_to_cart_events + remove_from_cart_events + checkout_starts + purchases")),
        (0, share("silver.customer_sessions", "NOT (is_converted AND is_abandoned) AND NOT "
                  "(is_bounce AND total_events > 1)")),
        (0, unique("silver.customer_sessions", "customer_id, session_id")),
        (0, equal("SELECT SUM(total_events) FROM silver.customer_sessions",
                  "SELECT COUNT(DISTINCT event_id) FROM bronze.customer_events "
                  f"WHERE {CLEAN_EVENTS}")),
    ],
    "silver.payment_analysis": [
        (0, share("silver.payment_analysis", "transaction_id IS NOT NULL AND order_id IS NOT "
                  "NULL AND customer_id IS NOT NULL AND amount IS NOT NULL AND "
                  "transaction_timestamp IS NOT NULL")),
        (0, share("silver.payment_analysis", "amount > 0 AND net_amount <= amount")),
        (0, share("silver.payment_analysis",
                  "transaction_hour BETWEEN 0 AND 23 AND day_of_week BETWEEN 0 AND 6")),
        (0, share("silver.payment_analysis", "is_high_value = (amount > 500)")),
        (0, share("silver.payment_analysis", f"payment_status IN ({STATUSES})")),
        (0, unique("silver.payment_analysis", "transaction_id")),
        (0.02, related("silver.payment_analysis", "customer_id", "silver.customer_sessions")),
        (0, equal("SELECT SUM(amount) FROM silver.payment_analysis",
                  "SELECT SUM(amount) FROM (SELECT transaction_id, MIN(amount) AS amount FROM "
                  f"bronze.payment_transactions WHERE {CLEAN_PAYMENTS} GROUP BY 1)")),
    ],
    "silver.inventory_health": [
        (0, share("silver.inventory_health", "product_id IS NOT NULL AND warehouse_id IS NOT "
                  "NULL AND snapshot_date IS NOT NULL AND quantity_on_hand IS NOT NULL")),
        (0, share("silver.inventory_health",
                  "quantity_on_hand >= 0 AND average_daily_sales >= 0")),
        (0, share("silver.inventory_health",
                  "days_of_stock IS NULL OR is_low_stock = (days_of_stock < 7)")),
        (0.01, share("silver.inventory_health", "inventory_value IS NOT NULL")),
        (0, unique("silver.inventory_health", "product_id, warehouse_id")),
        (0, equal("SELECT COUNT(*) FROM silver.inventory_health",
                  "SELECT COUNT(*) FROM (SELECT DISTINCT product_id, warehouse_id FROM "
                  "bronze.inventory_snapshots WHERE product_id IS NOT NULL AND warehouse_id IS "
                  "NOT NULL AND snapshot_date IS NOT NULL AND quantity_on_hand >= 0)")),
    ],
    "silver.support_metrics": [
        (0, share("silver.support_metrics", "ticket_id IS NOT NULL AND customer_id IS NOT NULL "
                  "AND priority IS NOT NULL AND created_timestamp IS NOT NULL")),
        (0, share("silver.support_metrics", "priority IN ('low', 'medium', 'high', 'urgent')")),
        (0, share("silver.support_metrics",
                  "response_time_hours IS NULL OR response_time_hours >= 0")),
        (0, share("silver.support_metrics",
                  "resolution_time_hours IS NULL OR resolution_time_hours >= 0")),
        (0, share("silver.support_metrics",
                  "satisfaction_score IS NULL OR satisfaction_score BETWEEN 1 AND 5")),
        (0, unique("silver.support_metrics", "ticket_id")),
        (0.02, related("silver.support_metrics", "customer_id", "silver.customer_sessions")),
        (0.03, related("silver.support_metrics", "order_id", "silver.payment_analysis")),
        (0, equal("SELECT COUNT(*) FROM silver.support_metrics",
                  "SELECT COUNT(DISTINCT ticket_id) FROM bronze.support_tickets WHERE "
                  "customer_id IS NOT NULL AND created_timestamp IS NOT NULL")),
    ],
    "gold.customer_summary": [
        (0, share("gold.customer_summary", "customer_id IS NOT NULL AND total_sessions IS NOT "
                  "NULL AND total_orders IS NOT NULL AND total_ltv IS NOT NULL AND "
                  "customer_segment IN ('VIP', 'Regular', 'At-Risk')")),
        (0, share("gold.customer_summary",
                  "conversion_rate IS NULL OR conversion_rate BETWEEN 0 AND 1")),
        (0, share("gold.customer_summary",
                  "total_ltv >= 0 AND (total_orders > 0 OR total_ltv = 0)")),
        (0, unique("gold.customer_summary", "customer_id")),
        (0, equal("SELECT SUM(total_ltv) FROM gold.customer_summary",
                  "SELECT SUM(amount) FROM silver.payment_analysis WHERE is_successful")),
        (0, equal("SELECT SUM(total_sessions) FROM gold.customer_summary",
                  "SELECT COUNT(*) FROM silver.customer_sessions")),
    ],
    "gold.daily_metrics": [
        (0, share("gold.daily_metrics", "metric_date IS NOT NULL AND total_revenue IS NOT NULL "
                  "AND total_orders IS NOT NULL AND total_customers IS NOT NULL")),
        (0, share("gold.daily_metrics",
                  "total_revenue >= 0 AND total_orders >= 0 AND fraud_flag_count >= 0")),
        (0, share("gold.daily_metrics",
                  "avg_order_value IS NULL OR avg_order_value BETWEEN 1 AND 5000")),
        (0, unique("gold.daily_metrics", "metric_date")),
        (0, equal("SELECT SUM(total_revenue) FROM gold.daily_metrics",
                  "SELECT SUM(amount) FROM silver.payment_analysis WHERE is_successful")),
        (0, equal("SELECT COUNT(*) FROM gold.daily_metrics",
                  "SELECT date_diff('day', MIN(metric_date), MAX(metric_date)) + 1 FROM "
                  "gold.daily_metrics")),
    ],
    "gold.product_summary": [
        (0, share("gold.product_summary", "product_id IS NOT NULL AND product_views >= 0 AND "
                  "product_purchases >= 0 AND current_stock_level >= 0")),
        (0, share("gold.product_summary", "revenue_generated >= 0 AND "
                  "(product_purchases > 0 OR revenue_generated = 0)")),
        (0, unique("gold.product_summary", "product_id")),
        (0, related("gold.product_summary", "product_id", "silver.inventory_health")),
        (0, equal("SELECT COUNT(*) FROM gold.product_summary",
                  "SELECT COUNT(DISTINCT product_id) FROM silver.inventory_health")),
    ],
}

GOLD = {
    "customer_summary": "customer_id",
    "daily_metrics": "metric_date",
    "product_summary": "product_id",
}


def run(arguments):
    """Builds all tables in a new database file."""
    if os.path.exists(arguments.database):
        sys.exit(f"{arguments.database} exists: remove it or choose another file")
    connection = duckdb.connect(arguments.database)
    connection.execute(f"SET threads = {int(arguments.threads)}")
    if arguments.memory_limit:
        connection.execute(f"SET memory_limit = '{arguments.memory_limit}'")
    for schema in ("bronze", "silver", "gold"):
        connection.execute(f"CREATE SCHEMA {schema}")
    source = arguments.source.replace("'", "''")
    steps, failed = [], 0
    for table, query in STEPS:
        start = time.perf_counter()
        statement = query.replace("{source}", source)
        connection.execute(f"CREATE TABLE {table} AS {statement}")
        written = time.perf_counter()
        for allowed, check in CHECKS[table]:
            failures, rows = connection.execute(check).fetchone()
            if failures > allowed * rows:
                failed += 1
                print(f"check failed: {failures} of {rows}: {check}", file=sys.stderr)
        end = time.perf_counter()
        rows = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
        steps.append(
            {
                "table": table,
                "rows": rows,
                "seconds": written - start,
                "check_seconds": end - written,
            }
        )
    start = time.perf_counter()
    connection.execute("CHECKPOINT")
    connection.close()
    steps.append(
        {"table": "checkpoint", "rows": 0, "seconds": time.perf_counter() - start,
         "check_seconds": 0.0}
    )
    if arguments.json:
        print(json.dumps({"steps": steps, "failed_checks": failed}))
    else:
        for step in steps:
            print(f"{step['table']:<30} {step['rows']:>10} rows {step['seconds']:>8.2f} s "
                  f"checks {step['check_seconds']:>6.2f} s")
        total = sum(step["seconds"] + step["check_seconds"] for step in steps)
        print(f"{'total':<30} {'':>15} {total:>8.2f} s")
    if failed:
        sys.exit(f"{failed} checks failed")


def same(left, right):
    """Whether two values are the same: sums of floating-point numbers may differ in the
    last digits, since their order is not fixed."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)
    return left == right


def compare(arguments):
    """Compares exported gold tables with those of the database."""
    connection = duckdb.connect(arguments.database, read_only=True)
    differences = 0
    for table, key in GOLD.items():
        columns = [
            (name, kind)
            for name, kind in connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns "
                "WHERE table_schema = 'gold' AND table_name = ? ORDER BY ordinal_position",
                [table],
            ).fetchall()
            if name != "processed_at"
        ]
        path = os.path.join(arguments.gold, f"{table}.csv").replace("'", "''")
        casts = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in columns)
        names = ", ".join(name for name, _ in columns)
        theirs = connection.execute(
            f"SELECT {names} FROM gold.{table} ORDER BY {key}"
        ).fetchall()
        ours = connection.execute(
            f"SELECT {casts} FROM read_csv('{path}', header = true, all_varchar = true, "
            f"nullstr = ['', 'NULL']) ORDER BY {key}"
        ).fetchall()
        wrong = abs(len(ours) - len(theirs))
        for our_row, their_row in zip(ours, theirs):
            if not all(same(left, right) for left, right in zip(our_row, their_row)):
                wrong += 1
                if wrong <= 3:
                    print(f"{table}: {our_row} is not {their_row}", file=sys.stderr)
        print(f"gold.{table}: {len(ours)} rows, {len(theirs)} in DuckDB, {wrong} differ")
        differences += wrong
    if differences:
        sys.exit(f"{differences} rows differ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run", help="build all tables")
    command.add_argument("--source", required=True, help="folder of the CSV files")
    command.add_argument("--database", required=True, help="database file to create")
    command.add_argument("--threads", type=int, default=2)
    command.add_argument("--memory-limit", default="")
    command.add_argument("--json", action="store_true")
    command.set_defaults(function=run)
    command = commands.add_parser("compare", help="compare exported gold tables")
    command.add_argument("--database", required=True)
    command.add_argument("--gold", required=True, help="folder of the exported CSV files")
    command.set_defaults(function=compare)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
