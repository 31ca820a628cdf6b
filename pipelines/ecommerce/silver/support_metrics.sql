/*---
description: One row per ticket, with the times that matter to customers
tags: [silver]
checks:
  - row_count: { min: 1 }
  - not_null: [ticket_id, customer_id, priority, created_timestamp]
  - unique: [ticket_id]
  - accepted_values: { column: priority, values: [low, medium, high, urgent] }
  - expression: response_time_hours IS NULL OR response_time_hours >= 0
    name: response_not_before_creation
  - expression: resolution_time_hours IS NULL OR resolution_time_hours >= 0
    name: resolution_not_before_creation
  - expression: satisfaction_score IS NULL OR satisfaction_score BETWEEN 1 AND 5
    name: satisfaction_score_in_range
  - relationship:
      columns: [customer_id]
      references: silver.customer_sessions
    max_failures: 2%
    severity: warn
  - relationship:
      columns: [order_id]
      references: silver.payment_analysis
    max_failures: 3%
    severity: warn
  - query: >-
      SELECT silver.tickets AS silver_tickets, bronze.tickets AS bronze_tickets
      FROM (SELECT COUNT(*) AS tickets FROM silver.support_metrics) AS silver
      CROSS JOIN (
          SELECT COUNT(DISTINCT ticket_id) AS tickets FROM bronze.support_tickets
          WHERE customer_id IS NOT NULL AND created_timestamp IS NOT NULL
      ) AS bronze
      WHERE silver.tickets <> bronze.tickets
    name: tickets_equal_bronze
  - freshness: { column: processed_at, max_age: 1h }
---*/
CREATE OR REPLACE TABLE silver.support_metrics
WITH (partitioning = ARRAY['month(created_timestamp)'])
AS
WITH tickets AS (
    -- Duplicates of an export are equal in all columns. A ticket of nobody cannot be
    -- counted for anybody.
    SELECT DISTINCT
        ticket_id, customer_id, order_id, ticket_type,
        -- Words that the help desk does not know are its default.
        CASE WHEN priority IN ('low', 'medium', 'high', 'urgent') THEN priority ELSE 'medium' END
            AS priority,
        status, created_timestamp,
        -- Times before the ticket was created are errors of the help desk.
        CASE WHEN first_response_timestamp >= created_timestamp THEN first_response_timestamp END
            AS first_response_timestamp,
        CASE WHEN resolution_timestamp >= created_timestamp THEN resolution_timestamp END
            AS resolution_timestamp,
        agent_id,
        CASE WHEN satisfaction_score BETWEEN 1 AND 5 THEN satisfaction_score END
            AS satisfaction_score,
        subject, channel
    FROM bronze.support_tickets
    WHERE ticket_id IS NOT NULL
        AND customer_id IS NOT NULL
        AND created_timestamp IS NOT NULL
),
timed AS (
    SELECT
        *,
        date_part('epoch', first_response_timestamp) - date_part('epoch', created_timestamp)
            AS response_seconds,
        date_part('epoch', resolution_timestamp) - date_part('epoch', created_timestamp)
            AS resolution_seconds
    FROM tickets
),
agents AS (
    SELECT
        agent_id,
        COUNT(*) AS agent_tickets,
        AVG(response_seconds / 3600) AS agent_average_response_hours,
        AVG(resolution_seconds / 3600) AS agent_average_resolution_hours,
        AVG(CAST(satisfaction_score AS DOUBLE)) AS agent_average_satisfaction
    FROM timed
    GROUP BY agent_id
)
SELECT
    timed.ticket_id,
    timed.customer_id,
    timed.order_id,
    timed.ticket_type,
    timed.priority,
    timed.status,
    timed.created_timestamp,
    timed.first_response_timestamp,
    timed.resolution_timestamp,
    timed.agent_id,
    timed.satisfaction_score,
    timed.subject,
    timed.channel,
    timed.response_seconds / 3600 AS response_time_hours,
    timed.resolution_seconds / 3600 AS resolution_time_hours,
    -- NULL as long as there was no response.
    timed.response_seconds <= CASE timed.priority
        WHEN 'urgent' THEN 900
        WHEN 'high' THEN 3600
        WHEN 'medium' THEN 14400
        ELSE 86400
    END AS meets_response_sla,
    timed.resolution_seconds <= CASE timed.priority
        WHEN 'urgent' THEN 14400
        WHEN 'high' THEN 86400
        WHEN 'medium' THEN 259200
        ELSE 604800
    END AS meets_resolution_sla,
    agents.agent_tickets,
    agents.agent_average_response_hours,
    agents.agent_average_resolution_hours,
    agents.agent_average_satisfaction,
    CAST(now() AS TIMESTAMP(6)) AS processed_at
FROM timed
LEFT JOIN agents ON agents.agent_id = timed.agent_id
