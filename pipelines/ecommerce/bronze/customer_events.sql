/*---
description: What visitors of the shop did, as the web tracker exported it
tags: [bronze]
checks:
  - row_count: { min: 1 }
  - schema:
      event_id: varchar
      customer_id: varchar
      session_id: varchar
      event_type: varchar
      event_timestamp: timestamp
      page_url: varchar
      product_id: varchar
      category_id: varchar
      referrer_source: varchar
      device_type: varchar
      user_agent: varchar
      ip_address: varchar
      malformed: varchar
      ingested_at: timestamp
      source_system: varchar
  # The export is dirty: a little is expected, and silver cleans it.
  - not_null: [event_id, session_id]
  - not_null: [customer_id]
    max_failures: 1%
  - not_null: [event_timestamp]
    max_failures: 0.5%
  - unique: [event_id]
    max_failures: 1%
  - accepted_values:
      column: event_type
      values: [page_view, product_view, add_to_cart, remove_from_cart, checkout_start, purchase]
    max_failures: 0.5%
---*/
CREATE OR REPLACE TABLE bronze.customer_events
WITH (partitioning = ARRAY['month(event_timestamp)'])
AS
SELECT
    event_id,
    customer_id,
    session_id,
    event_type,
    TRY_CAST(event_timestamp AS TIMESTAMP(6)) AS event_timestamp,
    page_url,
    product_id,
    category_id,
    referrer_source,
    device_type,
    user_agent,
    ip_address,
    -- What could not be typed is kept, so that nothing of the source is lost.
    CASE
        WHEN event_timestamp IS NOT NULL AND TRY_CAST(event_timestamp AS TIMESTAMP(6)) IS NULL
        THEN 'event_timestamp=' || event_timestamp
    END AS malformed,
    CAST(now() AS TIMESTAMP(6)) AS ingested_at,
    'web_tracker' AS source_system
FROM read_csv('{{ source_dir }}/customer_events.csv', all_varchar => true)
