/*---
description: The latest stock of each product in each warehouse, and how long it will last
tags: [silver]
checks:
  - row_count: { min: 1 }
  - not_null: [product_id, warehouse_id, snapshot_date, quantity_on_hand]
  - unique: [product_id, warehouse_id]
  - expression: quantity_on_hand >= 0 AND average_daily_sales >= 0
    name: quantities_not_negative
  - expression: days_of_stock IS NULL OR is_low_stock = (days_of_stock < 7)
    name: low_stock_follows_its_rule
  - not_null: [inventory_value]
    max_failures: 1%
    severity: warn
  - query: >-
      SELECT silver.pairs AS silver_pairs, bronze.pairs AS bronze_pairs
      FROM (SELECT COUNT(*) AS pairs FROM silver.inventory_health) AS silver
      CROSS JOIN (
          SELECT COUNT(*) AS pairs FROM (
              SELECT DISTINCT product_id, warehouse_id FROM bronze.inventory_snapshots
              WHERE product_id IS NOT NULL AND warehouse_id IS NOT NULL
                  AND snapshot_date IS NOT NULL AND quantity_on_hand >= 0
          ) AS pairs_in_bronze
      ) AS bronze
      WHERE silver.pairs <> bronze.pairs
    name: every_pair_of_bronze_is_there
  - freshness: { column: processed_at, max_age: 1h }
---*/
CREATE OR REPLACE TABLE silver.inventory_health
AS
WITH snapshots AS (
    -- Duplicates of an export are equal in all columns. A negative stock is an error of
    -- counting: the snapshot before it holds until the next one.
    SELECT DISTINCT
        snapshot_id, product_id, warehouse_id, snapshot_date, quantity_on_hand,
        quantity_reserved, quantity_available, reorder_point, reorder_quantity, supplier_id,
        last_received_date, unit_cost
    FROM bronze.inventory_snapshots
    WHERE product_id IS NOT NULL
        AND warehouse_id IS NOT NULL
        AND snapshot_date IS NOT NULL
        AND quantity_on_hand >= 0
),
history AS (
    SELECT
        *,
        LAG(quantity_on_hand) OVER (
            PARTITION BY product_id, warehouse_id ORDER BY snapshot_date, snapshot_id
        ) AS previous_quantity,
        ROW_NUMBER() OVER (
            PARTITION BY product_id, warehouse_id ORDER BY snapshot_date DESC, snapshot_id DESC
        ) AS age_rank
    FROM snapshots
),
pairs AS (
    SELECT
        product_id,
        warehouse_id,
        -- What is less than at the snapshot before was sold; what is more was received.
        SUM(CASE
            WHEN previous_quantity > quantity_on_hand THEN previous_quantity - quantity_on_hand
            ELSE 0
        END) AS units_sold,
        (date_part('epoch', MAX(snapshot_date)) - date_part('epoch', MIN(snapshot_date))) / 86400
            AS days_observed,
        -- For snapshots whose own cost could not be read.
        MAX(unit_cost) AS known_unit_cost
    FROM history
    GROUP BY product_id, warehouse_id
),
latest AS (
    SELECT
        history.*,
        pairs.known_unit_cost,
        CASE
            WHEN pairs.days_observed > 0
            THEN CAST(pairs.units_sold AS DOUBLE) / pairs.days_observed
            ELSE 0
        END AS average_daily_sales
    FROM history
    JOIN pairs
        ON pairs.product_id = history.product_id
        AND pairs.warehouse_id = history.warehouse_id
    WHERE history.age_rank = 1
),
stock AS (
    SELECT
        *,
        CASE
            WHEN average_daily_sales > 0
            THEN CAST(quantity_on_hand AS DOUBLE) / average_daily_sales
        END AS days_of_stock
    FROM latest
)
SELECT
    product_id,
    warehouse_id,
    snapshot_date,
    quantity_on_hand,
    quantity_reserved,
    quantity_available,
    reorder_point,
    reorder_quantity,
    supplier_id,
    last_received_date,
    average_daily_sales,
    days_of_stock,
    -- What does not sell lasts for ever, unless there is none of it.
    COALESCE(days_of_stock < 7, quantity_on_hand = 0) AS is_low_stock,
    quantity_available <= reorder_point AS needs_reorder,
    COALESCE(unit_cost, known_unit_cost) AS unit_cost,
    CAST(quantity_on_hand * COALESCE(unit_cost, known_unit_cost) AS DECIMAL(18, 2))
        AS inventory_value,
    CAST(now() AS TIMESTAMP(6)) AS processed_at
FROM stock
