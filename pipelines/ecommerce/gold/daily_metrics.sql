/*---
description: Revenue, orders, customers and suspicious payments by day
tags: [gold]
checks:
  - row_count: { min: 1, max: 100000 }
  - not_null: [metric_date, total_revenue, total_orders, total_customers, fraud_flag_count]
  - unique: [metric_date]
  - expression: total_revenue >= 0 AND total_orders >= 0 AND fraud_flag_count >= 0
    name: metrics_not_negative
  - expression: avg_order_value IS NULL OR avg_order_value BETWEEN 1 AND 5000
    name: avg_order_value_in_range
    severity: warn
  - query: >-
      SELECT gold.revenue AS gold_revenue, silver.revenue AS silver_revenue
      FROM (SELECT SUM(total_revenue) AS revenue FROM gold.daily_metrics) AS gold
      CROSS JOIN (
          SELECT SUM(amount) AS revenue FROM silver.payment_analysis WHERE is_successful
      ) AS silver
      WHERE gold.revenue <> silver.revenue
    name: revenue_equals_silver
  - query: >-
      SELECT days.first_day, days.last_day, days.days
      FROM (
          SELECT MIN(metric_date) AS first_day, MAX(metric_date) AS last_day, COUNT(*) AS days
          FROM gold.daily_metrics
      ) AS days
      WHERE days.days <> (
          date_part('epoch', days.last_day) - date_part('epoch', days.first_day)
      ) / 86400 + 1
    name: no_day_is_missing
    severity: warn
---*/
CREATE OR REPLACE TABLE gold.daily_metrics
AS
SELECT
    transaction_date AS metric_date,
    CAST(SUM(CASE WHEN is_successful THEN amount ELSE 0 END) AS DECIMAL(18, 2))
        AS total_revenue,
    COUNT(DISTINCT CASE WHEN is_successful THEN order_id END) AS total_orders,
    CAST(SUM(CASE WHEN is_successful THEN amount ELSE 0 END) AS DOUBLE)
        / NULLIF(COUNT(DISTINCT CASE WHEN is_successful THEN order_id END), 0)
        AS avg_order_value,
    COUNT(DISTINCT customer_id) AS total_customers,
    SUM(CASE WHEN is_high_risk AND (is_unusually_large OR is_off_hours) THEN 1 ELSE 0 END)
        AS fraud_flag_count,
    CAST(now() AS TIMESTAMP(6)) AS processed_at
FROM silver.payment_analysis
GROUP BY transaction_date
