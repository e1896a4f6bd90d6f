-- The changes since yesterday began (UTC), for dashboards that ask every minute: read from the partitions of the last days
-- alone (${dataset}.recent_events, and what is ${dataset}.recent_carried_in).
--
-- What comes late for earlier days is known here once they are closed again. Where none of the last days is closed, an object's
-- first change has nothing before it.
SELECT * FROM ${dataset}.replica_changes WHERE effective_time >= DAYS_AGO(1)
