-- What stands for the events before those of recent_events.
SELECT * FROM (
  SELECT writes.*, ROW_NUMBER() OVER (PARTITION BY writes.carried_id ORDER BY writes.through) AS copy
  FROM ${dataset}.recent_closing AS recent
  CROSS JOIN ${dataset}.carried_writes AS writes
  WHERE writes.through BETWEEN DAYS_AGO(2) AND DAYS_AGO(1)
    AND writes.closing = recent.closing AND writes.through = recent.through
) AS copies
WHERE copy = 1
