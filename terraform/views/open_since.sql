-- Since when the days of each namespace are open, and the closing that leads there: the last one that knows what came before
-- its end. The namespace '' stands for all that are not named, whose days are open since the last closing. NULL: from the
-- first event on.
WITH told AS (
  SELECT through AS instant, 1 AS is_closing, '' AS namespace, MICROS_OF(closed_at) AS recorded FROM ${dataset}.closings
  UNION ALL
  -- What came when its day may have been closed.
  SELECT through, 0, SUBSTR(name, 17), MAX(MICROS_OF(`at`)) FROM ${dataset}.watermarks WHERE name LIKE 'late/%' GROUP BY name, through
),
compared AS (
  -- The earliest closing behind each, by when it was computed.
  SELECT *, MIN(CASE WHEN is_closing = 1 THEN recorded END) OVER (ORDER BY instant DESC, is_closing ROWS UNBOUNDED PRECEDING) AS computed
  FROM told
),
late AS (
  -- Writers' clocks are an hour apart at most.
  SELECT namespace, instant, recorded + 3600000000 AS recorded FROM compared WHERE is_closing = 0 AND recorded + 3600000000 >= computed
),
unaware AS (
  SELECT late.namespace, MIN(closings.through) AS through
  FROM late
  CROSS JOIN ${dataset}.closings AS closings
  WHERE closings.through > late.instant AND MICROS_OF(closings.closed_at) <= late.recorded
  GROUP BY late.namespace
),
bounds AS (
  -- What came late of a cluster is late for all.
  SELECT '' AS namespace, MIN(through) AS until FROM unaware WHERE namespace = ''
  UNION ALL
  SELECT of_one.namespace, CASE WHEN of_all.through < of_one.through THEN of_all.through ELSE of_one.through END
  FROM unaware AS of_one
  LEFT JOIN unaware AS of_all ON of_all.namespace = ''
  WHERE of_one.namespace <> ''
),
leading AS (
  SELECT bounds.namespace, closings.closing, closings.through,
    ROW_NUMBER() OVER (PARTITION BY bounds.namespace ORDER BY closings.through DESC) AS age
  FROM bounds
  CROSS JOIN ${dataset}.closings AS closings
  WHERE bounds.until IS NULL OR closings.through < bounds.until
)
SELECT bounds.namespace, leading.through, leading.closing
FROM bounds
LEFT JOIN leading ON leading.namespace = bounds.namespace AND leading.age = 1
