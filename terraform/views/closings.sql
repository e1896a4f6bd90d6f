-- The closings that count, from the first event on and without a gap: each says what the order said of the time from where
-- the one before it ends until `through`. Of those that say it of one time, the latest counts.
WITH marks AS (
  -- Told again it is the same closing, seen to be right once more.
  SELECT SUBSTR(name, -32) AS closing, SUBSTR(name, 6, LENGTH(name) - 38) AS begins, MAX(through) AS through, MAX(`at`) AS closed_at
  FROM ${dataset}.watermarks
  WHERE name LIKE 'days/%'
  GROUP BY name
),
latest AS (
  SELECT *, CAST(MICROS_OF(through) AS ${text}) AS ends FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY through ORDER BY closed_at DESC, closing DESC) AS age FROM marks
  ) AS aged
  WHERE age = 1
),
covered AS (
  SELECT *, MIN(begins) OVER (ORDER BY through DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS later_begins FROM latest
),
linked AS (
  SELECT *, CASE WHEN begins = COALESCE(LAG(ends) OVER (ORDER BY through), '0') THEN 0 ELSE 1 END AS is_gap
  FROM covered
  WHERE later_begins IS NULL OR later_begins >= ends
)
SELECT closing, through, closed_at
FROM (SELECT *, SUM(is_gap) OVER (ORDER BY through ROWS UNBOUNDED PRECEDING) AS gaps FROM linked) AS chained
WHERE gaps = 0
