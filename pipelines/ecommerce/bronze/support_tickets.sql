/*---
description: What customers asked, as the help desk exported it
tags: [bronze]
checks:
  - row_count: { min: 1 }
  - schema:
      ticket_id: varchar
      customer_id: varchar
      order_id: varchar
      ticket_type: varchar
      priority: varchar
      status: varchar
      created_timestamp: timestamp
      first_response_timestamp: timestamp
      resolution_timestamp: timestamp
      agent_id: varchar
      satisfaction_score: integer
      subject: varchar
      channel: varchar
      malformed: varchar
      ingested_at: timestamp
      source_system: varchar
  - not_null: [ticket_id, created_timestamp]
  - not_null: [customer_id]
    max_failures: 1%
  - unique: [ticket_id]
    max_failures: 1%
  - expression: satisfaction_score IS NULL OR satisfaction_score BETWEEN 1 AND 5
    name: satisfaction_score_in_range
    max_failures: 0.5%
  - accepted_values:
      column: priority
      values: [low, medium, high, urgent]
    max_failures: 0.5%
---*/
CREATE OR REPLACE TABLE bronze.support_tickets
WITH (partitioning = ARRAY['month(created_timestamp)'])
AS
SELECT
    ticket_id,
    customer_id,
    order_id,
    ticket_type,
    priority,
    status,
    TRY_CAST(created_timestamp AS TIMESTAMP(6)) AS created_timestamp,
    TRY_CAST(first_response_timestamp AS TIMESTAMP(6)) AS first_response_timestamp,
    TRY_CAST(resolution_timestamp AS TIMESTAMP(6)) AS resolution_timestamp,
    agent_id,
    TRY_CAST(satisfaction_score AS INTEGER) AS satisfaction_score,
    subject,
    channel,
    -- What could not be typed is kept, so that nothing of the source is lost.
    CASE
        WHEN created_timestamp IS NOT NULL
            AND TRY_CAST(created_timestamp AS TIMESTAMP(6)) IS NULL
        THEN 'created_timestamp=' || created_timestamp
        WHEN first_response_timestamp IS NOT NULL
            AND TRY_CAST(first_response_timestamp AS TIMESTAMP(6)) IS NULL
        THEN 'first_response_timestamp=' || first_response_timestamp
        WHEN resolution_timestamp IS NOT NULL
            AND TRY_CAST(resolution_timestamp AS TIMESTAMP(6)) IS NULL
        THEN 'resolution_timestamp=' || resolution_timestamp
        WHEN satisfaction_score IS NOT NULL AND TRY_CAST(satisfaction_score AS INTEGER) IS NULL
        THEN 'satisfaction_score=' || satisfaction_score
    END AS malformed,
    CAST(now() AS TIMESTAMP(6)) AS ingested_at,
    'help_desk' AS source_system
FROM read_csv('{{ source_dir }}/support_tickets.csv', all_varchar => true)
