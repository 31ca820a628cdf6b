/*---
description: One row per transaction, with the customer's own habits beside it
tags: [silver]
checks:
  - row_count: { min: 1 }
  - not_null: [transaction_id, order_id, customer_id, amount, transaction_timestamp]
  - unique: [transaction_id]
  - expression: amount > 0 AND net_amount <= amount
    name: amounts_make_sense
  - expression: transaction_hour BETWEEN 0 AND 23 AND day_of_week BETWEEN 0 AND 6
    name: calendar_in_range
  - expression: is_high_value = (amount > 500)
    name: high_value_follows_its_rule
  - accepted_values:
      column: payment_status
      values: [completed, pending, failed, refunded, cancelled]
  # A few customers are known to the payment provider only.
  - relationship:
      columns: [customer_id]
      references: silver.customer_sessions
    max_failures: 2%
    severity: warn
  - query: >-
      SELECT silver.amount AS silver_amount, bronze.amount AS bronze_amount
      FROM (SELECT SUM(amount) AS amount FROM silver.payment_analysis) AS silver
      CROSS JOIN (
          SELECT SUM(amount) AS amount FROM (
              SELECT transaction_id, MIN(amount) AS amount FROM bronze.payment_transactions
              WHERE transaction_id IS NOT NULL AND customer_id IS NOT NULL
                  AND amount IS NOT NULL AND transaction_timestamp IS NOT NULL
                  AND payment_status IN ('completed', 'pending', 'failed', 'refunded', 'cancelled')
              GROUP BY transaction_id
          ) AS transactions
      ) AS bronze
      WHERE silver.amount <> bronze.amount
    name: total_amount_equals_bronze
  - freshness: { column: processed_at, max_age: 1h }
---*/
CREATE OR REPLACE TABLE silver.payment_analysis
WITH (partitioning = ARRAY['month(transaction_timestamp)'])
AS
WITH transactions AS (
    -- Duplicates of an export are equal in all columns. Transactions without id, customer,
    -- amount, time or known status cannot be analysed.
    SELECT DISTINCT
        transaction_id, order_id, customer_id, payment_method, payment_status, amount,
        UPPER(currency) AS currency, transaction_timestamp, processor_response_code,
        gateway_fee, merchant_id, billing_country,
        -- A score beyond the scale says nothing.
        CASE WHEN risk_score BETWEEN 0 AND 100 THEN risk_score END AS risk_score
    FROM bronze.payment_transactions
    WHERE transaction_id IS NOT NULL
        AND customer_id IS NOT NULL
        AND amount IS NOT NULL
        AND transaction_timestamp IS NOT NULL
        AND payment_status IN ('completed', 'pending', 'failed', 'refunded', 'cancelled')
),
customers AS (
    SELECT
        customer_id,
        COUNT(*) AS transaction_count,
        SUM(amount) AS total_amount
    FROM transactions
    GROUP BY customer_id
),
timed AS (
    SELECT
        transactions.*,
        date_part('hour', transaction_timestamp) AS transaction_hour,
        date_part('dow', transaction_timestamp) AS day_of_week,
        customers.transaction_count AS customer_transaction_count,
        customers.total_amount AS customer_total_amount
    FROM transactions
    JOIN customers ON customers.customer_id = transactions.customer_id
)
SELECT
    transaction_id,
    order_id,
    customer_id,
    payment_method,
    payment_status,
    amount,
    gateway_fee,
    CAST(amount - COALESCE(gateway_fee, 0) AS DECIMAL(12, 2)) AS net_amount,
    currency,
    transaction_timestamp,
    CAST(transaction_timestamp AS DATE) AS transaction_date,
    CAST(transaction_hour AS INTEGER) AS transaction_hour,
    -- 0 is Sunday.
    CAST(day_of_week AS INTEGER) AS day_of_week,
    processor_response_code,
    merchant_id,
    billing_country,
    risk_score,
    payment_status = 'completed' AS is_successful,
    payment_status = 'failed' AS is_failed,
    payment_status = 'refunded' AS is_refunded,
    amount > 500 AS is_high_value,
    transaction_hour >= 23 OR transaction_hour < 6 AS is_off_hours,
    day_of_week IN (0, 6) AS is_weekend,
    COALESCE(risk_score >= 80, FALSE) AS is_high_risk,
    customer_transaction_count,
    CAST(customer_total_amount AS DECIMAL(18, 2)) AS customer_total_amount,
    CAST(customer_total_amount AS DOUBLE) / customer_transaction_count
        AS customer_average_amount,
    -- More than three times the customer's average, written without a division so that it
    -- is exact; a habit takes five transactions.
    customer_transaction_count >= 5
        AND amount * customer_transaction_count > 3 * customer_total_amount
        AS is_unusually_large,
    CAST(now() AS TIMESTAMP(6)) AS processed_at
FROM timed
