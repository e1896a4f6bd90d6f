-- What stands for the events of closed days where those behind them are read.
SELECT * FROM (
  SELECT writes.*, ROW_NUMBER() OVER (PARTITION BY writes.carried_id ORDER BY writes.through) AS copy
  FROM ${dataset}.open_since AS since
  CROSS JOIN ${dataset}.carried_writes AS writes
  LEFT JOIN ${dataset}.open_since AS late ON late.namespace = writes.namespace AND late.namespace <> ''
  WHERE writes.closing = since.closing AND writes.through = since.through
    AND (since.namespace = COALESCE(late.namespace, '') OR writes.object_kind = 'Cluster')
) AS copies
WHERE copy = 1
