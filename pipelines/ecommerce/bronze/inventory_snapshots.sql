/*---
description: What each warehouse had of each product, as the warehouse system exported it
tags: [bronze]
checks:
  - row_count: { min: 1 }
  - schema:
      snapshot_id: varchar
      product_id: varchar
      warehouse_id: varchar
      snapshot_date: date
      quantity_on_hand: integer
      quantity_reserved: integer
      quantity_available: integer
      reorder_point: integer
      reorder_quantity: integer
      supplier_id: varchar
      last_received_date: date
      unit_cost: decimal(12,2)
      malformed: varchar
      ingested_at: timestamp
      source_system: varchar
  - not_null: [snapshot_id, product_id, snapshot_date]
  - not_null: [warehouse_id]
    max_failures: 0.5%
  - not_null: [unit_cost]
    max_failures: 1%
  - unique: [snapshot_id]
    max_failures: 1%
  - expression: quantity_on_hand >= 0
    name: quantity_not_negative
    max_failures: 0.5%
---*/
CREATE OR REPLACE TABLE bronze.inventory_snapshots
WITH (partitioning = ARRAY['month(snapshot_date)'])
AS
SELECT
    snapshot_id,
    product_id,
    warehouse_id,
    TRY_CAST(snapshot_date AS DATE) AS snapshot_date,
    TRY_CAST(quantity_on_hand AS INTEGER) AS quantity_on_hand,
    TRY_CAST(quantity_reserved AS INTEGER) AS quantity_reserved,
    TRY_CAST(quantity_available AS INTEGER) AS quantity_available,
    TRY_CAST(reorder_point AS INTEGER) AS reorder_point,
    TRY_CAST(reorder_quantity AS INTEGER) AS reorder_quantity,
    supplier_id,
    TRY_CAST(last_received_date AS DATE) AS last_received_date,
    TRY_CAST(unit_cost AS DECIMAL(12, 2)) AS unit_cost,
    -- What could not be typed is kept, so that nothing of the source is lost.
    CASE
        WHEN unit_cost IS NOT NULL AND TRY_CAST(unit_cost AS DECIMAL(12, 2)) IS NULL
        THEN 'unit_cost=' || unit_cost
        WHEN snapshot_date IS NOT NULL AND TRY_CAST(snapshot_date AS DATE) IS NULL
        THEN 'snapshot_date=' || snapshot_date
        WHEN quantity_on_hand IS NOT NULL AND TRY_CAST(quantity_on_hand AS INTEGER) IS NULL
        THEN 'quantity_on_hand=' || quantity_on_hand
    END AS malformed,
    CAST(now() AS TIMESTAMP(6)) AS ingested_at,
    'warehouse_system' AS source_system
FROM read_csv('{{ source_dir }}/inventory_snapshots.csv', all_varchar => true)
