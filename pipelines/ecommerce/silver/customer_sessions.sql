/*---
description: One row per visit, with what happened in it
tags: [silver]
checks:
  - row_count: { min: 1 }
  - not_null: [customer_id, session_id, session_start, session_end]
  - unique: [customer_id, session_id]
  - expression: session_duration_seconds >= 0 AND session_end >= session_start
    name: duration_not_negative
  - expression: >-
      total_events = page_views + product_views + add_to_cart_events
      + remove_from_cart_events + checkout_starts + purchases
    name: events_add_up
  - expression: NOT (is_converted AND is_abandoned) AND NOT (is_bounce AND total_events > 1)
    name: outcomes_exclude_each_other
  - query: >-
      SELECT silver.events AS silver_events, bronze.events AS bronze_events
      FROM (SELECT SUM(total_events) AS events FROM silver.customer_sessions) AS silver
      CROSS JOIN (
          SELECT COUNT(DISTINCT event_id) AS events FROM bronze.customer_events
          WHERE customer_id IS NOT NULL AND session_id IS NOT NULL
              AND event_timestamp IS NOT NULL
              AND event_type IN ('page_view', 'product_view', 'add_to_cart',
                  'remove_from_cart', 'checkout_start', 'purchase')
      ) AS bronze
      WHERE silver.events <> bronze.events
    name: total_events_equal_bronze
  - freshness: { column: processed_at, max_age: 1h }
---*/
CREATE OR REPLACE TABLE silver.customer_sessions
WITH (partitioning = ARRAY['month(session_start)'])
AS
WITH events AS (
    -- Duplicates of an export are equal in all columns. Events without customer, session,
    -- time or known type cannot be placed in a session.
    SELECT DISTINCT
        event_id, customer_id, session_id, event_type, event_timestamp, product_id,
        device_type, referrer_source
    FROM bronze.customer_events
    WHERE customer_id IS NOT NULL
        AND session_id IS NOT NULL
        AND event_timestamp IS NOT NULL
        AND event_type IN ('page_view', 'product_view', 'add_to_cart', 'remove_from_cart',
            'checkout_start', 'purchase')
),
sessions AS (
    SELECT
        customer_id,
        session_id,
        MIN(event_timestamp) AS session_start,
        MAX(event_timestamp) AS session_end,
        COUNT(*) AS total_events,
        SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS page_views,
        SUM(CASE WHEN event_type = 'product_view' THEN 1 ELSE 0 END) AS product_views,
        SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS add_to_cart_events,
        SUM(CASE WHEN event_type = 'remove_from_cart' THEN 1 ELSE 0 END)
            AS remove_from_cart_events,
        SUM(CASE WHEN event_type = 'checkout_start' THEN 1 ELSE 0 END) AS checkout_starts,
        SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS purchases,
        COUNT(DISTINCT CASE WHEN event_type = 'product_view' THEN product_id END)
            AS unique_products_viewed,
        MIN(device_type) AS device_type,
        MIN(referrer_source) AS referrer_source
    FROM events
    GROUP BY customer_id, session_id
)
SELECT
    customer_id,
    session_id,
    session_start,
    session_end,
    CAST(date_part('epoch', session_end) - date_part('epoch', session_start) AS BIGINT)
        AS session_duration_seconds,
    total_events,
    page_views,
    product_views,
    add_to_cart_events,
    remove_from_cart_events,
    checkout_starts,
    purchases,
    unique_products_viewed,
    purchases > 0 AS is_converted,
    add_to_cart_events > 0 AND purchases = 0 AS is_abandoned,
    total_events = 1 AS is_bounce,
    device_type,
    referrer_source,
    CAST(now() AS TIMESTAMP(6)) AS processed_at
FROM sessions
