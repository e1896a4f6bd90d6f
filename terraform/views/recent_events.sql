-- The events of the last days behind the last of their closings, read from the partitions of these days alone.
SELECT events.*
FROM ${dataset}.recent_closing AS closing
CROSS JOIN ${dataset}.replica_events AS events
WHERE events.event_time >= DAYS_AGO(2) AND events.event_time >= COALESCE(closing.through, DAYS_AGO(2))
