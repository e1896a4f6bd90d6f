-- What was raised, each alert once, as it was raised first.
SELECT * FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY alert_id ORDER BY ingested_at, alert_time) AS copy
  FROM ${dataset}.alert_log
) AS copies
WHERE copy = 1
