-- Conversion and revenue of the last minute, by product.
WITH recent AS (SELECT max(window_start) - 50000000 AS since FROM shop_views)
SELECT v.product,
       sum(v.count) AS views,
       coalesce(sum(o.count), 0) AS orders,
       round(100.0 * coalesce(sum(o.count), 0) / sum(v.count), 1) AS conversion_percent,
       round(coalesce(sum(o.amount_sum), 0), 2) AS revenue
FROM shop_views AS v
LEFT JOIN shop_orders AS o USING (window_start, product)
WHERE v.window_start >= (SELECT since FROM recent)
GROUP BY v.product
ORDER BY revenue DESC
LIMIT 8
