/*---
description: Every attempt to pay for an order, as the payment provider exported it
tags: [bronze]
checks:
  - row_count: { min: 1 }
  - schema:
      transaction_id: varchar
      order_id: varchar
      customer_id: varchar
      payment_method: varchar
      payment_status: varchar
      amount: decimal(12,2)
      currency: varchar
      transaction_timestamp: timestamp
      processor_response_code: varchar
      gateway_fee: decimal(12,2)
      merchant_id: varchar
      billing_country: varchar
      risk_score: integer
      malformed: varchar
      ingested_at: timestamp
      source_system: varchar
  - not_null: [order_id, transaction_timestamp]
  - not_null: [transaction_id]
    max_failures: 0.5%
  - not_null: [customer_id]
    max_failures: 1%
  - not_null: [amount]
    max_failures: 1%
  - unique: [transaction_id]
    max_failures: 1%
  - expression: risk_score BETWEEN 0 AND 100
    name: risk_score_in_range
    max_failures: 0.5%
  - accepted_values:
      column: payment_status
      values: [completed, pending, failed, refunded, cancelled]
    max_failures: 0.5%
---*/
CREATE OR REPLACE TABLE bronze.payment_transactions
WITH (partitioning = ARRAY['month(transaction_timestamp)'])
AS
SELECT
    transaction_id,
    order_id,
    customer_id,
    payment_method,
    payment_status,
    TRY_CAST(amount AS DECIMAL(12, 2)) AS amount,
    currency,
    TRY_CAST(transaction_timestamp AS TIMESTAMP(6)) AS transaction_timestamp,
    processor_response_code,
    TRY_CAST(gateway_fee AS DECIMAL(12, 2)) AS gateway_fee,
    merchant_id,
    billing_country,
    TRY_CAST(risk_score AS INTEGER) AS risk_score,
    -- What could not be typed is kept, so that nothing of the source is lost.
    CASE
        WHEN amount IS NOT NULL AND TRY_CAST(amount AS DECIMAL(12, 2)) IS NULL
        THEN 'amount=' || amount
        WHEN transaction_timestamp IS NOT NULL
            AND TRY_CAST(transaction_timestamp AS TIMESTAMP(6)) IS NULL
        THEN 'transaction_timestamp=' || transaction_timestamp
        WHEN gateway_fee IS NOT NULL AND TRY_CAST(gateway_fee AS DECIMAL(12, 2)) IS NULL
        THEN 'gateway_fee=' || gateway_fee
        WHEN risk_score IS NOT NULL AND TRY_CAST(risk_score AS INTEGER) IS NULL
        THEN 'risk_score=' || risk_score
    END AS malformed,
    CAST(now() AS TIMESTAMP(6)) AS ingested_at,
    'payment_provider' AS source_system
FROM read_csv('{{ source_dir }}/payment_transactions.csv', all_varchar => true)
