/*---
description: How often each product is seen and bought, what it brings and what is left
tags: [gold]
checks:
  - row_count: { min: 1 }
  - not_null: [product_id, product_views, product_purchases, revenue_generated, current_stock_level]
  - unique: [product_id]
  - expression: product_views >= 0 AND product_purchases >= 0 AND current_stock_level >= 0
    name: counts_not_negative
  - expression: revenue_generated >= 0 AND (product_purchases > 0 OR revenue_generated = 0)
    name: revenue_comes_from_purchases
  - relationship:
      columns: [product_id]
      references: silver.inventory_health
  - query: >-
      SELECT gold.products AS gold_products, silver.products AS silver_products
      FROM (SELECT COUNT(*) AS products FROM gold.product_summary) AS gold
      CROSS JOIN (
          SELECT COUNT(DISTINCT product_id) AS products FROM silver.inventory_health
      ) AS silver
      WHERE gold.products <> silver.products
    name: every_product_is_there
---*/
CREATE OR REPLACE TABLE gold.product_summary
AS
WITH events AS (
    -- Sessions know how many products were seen, not which: this needs the events.
    SELECT DISTINCT
        event_id,
        event_type,
        product_id,
        -- https://host/checkout/confirmation/ORDER
        CASE WHEN event_type = 'purchase' THEN split_part(page_url, '/', 6) END AS order_id
    FROM bronze.customer_events
    WHERE product_id IS NOT NULL
        AND customer_id IS NOT NULL
        AND session_id IS NOT NULL
        AND event_timestamp IS NOT NULL
        AND event_type IN ('product_view', 'purchase')
),
paid_orders AS (
    SELECT order_id, SUM(amount) AS amount
    FROM silver.payment_analysis
    WHERE is_successful
    GROUP BY order_id
),
interest AS (
    SELECT
        events.product_id,
        SUM(CASE WHEN events.event_type = 'product_view' THEN 1 ELSE 0 END) AS product_views,
        SUM(CASE WHEN events.event_type = 'purchase' THEN 1 ELSE 0 END) AS product_purchases,
        SUM(paid_orders.amount) AS revenue_generated
    FROM events
    LEFT JOIN paid_orders ON paid_orders.order_id = events.order_id
    GROUP BY events.product_id
),
stock AS (
    SELECT product_id, SUM(quantity_on_hand) AS current_stock_level
    FROM silver.inventory_health
    GROUP BY product_id
)
SELECT
    stock.product_id,
    COALESCE(interest.product_views, 0) AS product_views,
    COALESCE(interest.product_purchases, 0) AS product_purchases,
    -- Purchases of each view; a product may also be bought without being looked at.
    CAST(interest.product_purchases AS DOUBLE) / NULLIF(interest.product_views, 0)
        AS conversion_rate,
    CAST(COALESCE(interest.revenue_generated, 0) AS DECIMAL(18, 2)) AS revenue_generated,
    stock.current_stock_level,
    CAST(now() AS TIMESTAMP(6)) AS processed_at
FROM stock
LEFT JOIN interest ON interest.product_id = stock.product_id
