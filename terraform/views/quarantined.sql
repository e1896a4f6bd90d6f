-- What could not be read or stored, each once, as it first came.
SELECT quarantine_id, quarantined_at, message_id, publish_time, reason, detail, kind, raw, source
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY quarantine_id ORDER BY quarantined_at) AS copy
  FROM ${dataset}.quarantine
) AS numbered
WHERE copy = 1
