/*---
description: What each customer is worth, does and needs
tags: [gold]
checks:
  - row_count: { min: 1 }
  - not_null: [customer_id, total_sessions, total_orders, total_ltv, customer_segment]
  - unique: [customer_id]
  - accepted_values: { column: customer_segment, values: [VIP, Regular, At-Risk] }
  - expression: conversion_rate IS NULL OR conversion_rate BETWEEN 0 AND 1
    name: conversion_rate_is_a_share
  - expression: total_ltv >= 0 AND (total_orders > 0 OR total_ltv = 0)
    name: value_comes_from_orders
  - query: >-
      SELECT gold.value AS gold_value, silver.value AS silver_value
      FROM (SELECT SUM(total_ltv) AS value FROM gold.customer_summary) AS gold
      CROSS JOIN (
          SELECT SUM(amount) AS value FROM silver.payment_analysis WHERE is_successful
      ) AS silver
      WHERE gold.value <> silver.value
    name: value_equals_silver
  - query: >-
      SELECT gold.sessions AS gold_sessions, silver.sessions AS silver_sessions
      FROM (SELECT SUM(total_sessions) AS sessions FROM gold.customer_summary) AS gold
      CROSS JOIN (SELECT COUNT(*) AS sessions FROM silver.customer_sessions) AS silver
      WHERE gold.sessions <> silver.sessions
    name: sessions_equal_silver
---*/
CREATE OR REPLACE TABLE gold.customer_summary
AS
-- Each source is counted by customer before they are joined: joined first, every session
-- would be counted once per payment.
WITH sessions AS (
    SELECT
        customer_id,
        COUNT(*) AS total_sessions,
        SUM(CASE WHEN is_converted THEN 1 ELSE 0 END) AS converted_sessions
    FROM silver.customer_sessions
    GROUP BY customer_id
),
orders AS (
    SELECT
        customer_id,
        COUNT(DISTINCT order_id) AS total_orders,
        CAST(SUM(amount) AS DECIMAL(18, 2)) AS total_ltv,
        MAX(transaction_date) AS last_order_date
    FROM silver.payment_analysis
    WHERE is_successful
    GROUP BY customer_id
),
tickets AS (
    SELECT customer_id, COUNT(*) AS support_tickets_count
    FROM silver.support_metrics
    GROUP BY customer_id
),
customers AS (
    SELECT customer_id FROM sessions
    UNION
    SELECT customer_id FROM orders
    UNION
    SELECT customer_id FROM tickets
),
latest AS (
    SELECT MAX(transaction_date) AS latest_date FROM silver.payment_analysis
)
SELECT
    customers.customer_id,
    COALESCE(sessions.total_sessions, 0) AS total_sessions,
    COALESCE(orders.total_orders, 0) AS total_orders,
    COALESCE(orders.total_ltv, 0) AS total_ltv,
    CAST(orders.total_ltv AS DOUBLE) / orders.total_orders AS avg_order_value,
    CAST(sessions.converted_sessions AS DOUBLE) / sessions.total_sessions AS conversion_rate,
    COALESCE(tickets.support_tickets_count, 0) AS support_tickets_count,
    orders.last_order_date,
    CASE
        -- Nothing bought within the last 90 days of the data.
        WHEN orders.last_order_date IS NULL
            OR orders.last_order_date < latest.latest_date - INTERVAL '90' DAY
        THEN 'At-Risk'
        WHEN orders.total_ltv >= 5000 THEN 'VIP'
        ELSE 'Regular'
    END AS customer_segment,
    CAST(now() AS TIMESTAMP(6)) AS processed_at
FROM customers
CROSS JOIN latest
LEFT JOIN sessions ON sessions.customer_id = customers.customer_id
LEFT JOIN orders ON orders.customer_id = customers.customer_id
LEFT JOIN tickets ON tickets.customer_id = customers.customer_id
