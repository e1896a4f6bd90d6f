-- The highest number of replicas of each Deployment on each day (UTC) on which it was there, until today, and who is charged
-- for it: the owner by the version of the PED in force when it was there last on that day.
--
-- A number is in force from its write to the next change, [from, to): what ends at midnight has nothing of the day that begins.
-- One that another overtook counts for the day on which it was asked for.
--
-- Closed days (${dataset}.closed_days) stand as they are stored; others are read from the events behind them
-- (${dataset}.tail_events, ${dataset}.tail_subjects) and what is ${dataset}.carried_in.
WITH changes AS (
  SELECT changes.project_id, changes.location, changes.cluster_name, changes.namespace, changes.deployment_name,
    changes.cluster_id, changes.in_scope, changes.removes, changes.replicas, changes.event_time, changes.effective_time,
    CASE WHEN replaced_at < ${now} THEN replaced_at ELSE ${now} END AS ends_at,
    DATE(CASE WHEN late.namespace IS NULL THEN others.through ELSE late.through END) AS open_from
  FROM (
    SELECT *, LEAD(effective_time) OVER (PARTITION BY object_id ORDER BY position) AS replaced_at
    FROM ${dataset}.ordered_changes
    WHERE object_kind = 'Deployment'
  ) AS changes
  LEFT JOIN ${dataset}.open_since AS late ON late.namespace = changes.namespace AND late.namespace <> ''
  JOIN ${dataset}.open_since AS others ON others.namespace = ''
),
periods AS (
  SELECT *, MICROS_OF(ends_at) AS ends,
    CASE WHEN DATE(effective_time) < open_from THEN open_from ELSE DATE(effective_time) END AS first_day,
    DATE(ends_at) AS last_day
  FROM changes
  WHERE NOT removes AND effective_time < ends_at
),
calendar AS (
  SELECT day, begins FROM ${calendar}
),
numbers AS (
  -- What was asked for, however short it stood.
  SELECT project_id, location, cluster_name, namespace, deployment_name, cluster_id, in_scope, replicas, DATE(event_time) AS day,
    MICROS_OF(event_time) AS there_last
  FROM changes
  WHERE NOT removes AND event_time <= ${now} AND (open_from IS NULL OR DATE(event_time) >= open_from)
  UNION ALL
  -- What stood: most of it within a day.
  SELECT project_id, location, cluster_name, namespace, deployment_name, cluster_id, in_scope, replicas, last_day, ends - 1
  FROM periods
  WHERE DATE(effective_time) = last_day AND first_day = last_day
  UNION ALL
  SELECT project_id, location, cluster_name, namespace, deployment_name, cluster_id, in_scope, replicas, day,
    CASE WHEN begins + 86400000000 < ends THEN begins + 86400000000 ELSE ends END - 1
  FROM periods
  CROSS JOIN calendar
  WHERE DATE(effective_time) < last_day AND day >= first_day AND day <= last_day AND begins < ends
),
open_days AS (
  SELECT project_id, location, cluster_name, namespace, deployment_name, cluster_id, day,
    -- What is out of scope ends the number before it all the same.
    MAX(CASE WHEN in_scope THEN replicas END) AS max_replicas, MAX(there_last) AS there_last
  FROM numbers
  GROUP BY project_id, location, cluster_name, namespace, deployment_name, cluster_id, day
)
SELECT
  open_days.project_id, open_days.location, open_days.cluster_name, open_days.namespace, open_days.deployment_name,
  open_days.day AS date, open_days.max_replicas, versions.user_id AS owner
FROM open_days
LEFT JOIN ${dataset}.limits_in_force AS limits
  ON limits.cluster_id = open_days.cluster_id AND limits.namespace = open_days.namespace
  AND limits.deployment_name = open_days.deployment_name AND MICROS_OF(limits.begins_at) <= open_days.there_last
  AND (limits.ends_at IS NULL OR open_days.there_last < MICROS_OF(limits.ends_at))
LEFT JOIN (SELECT config_id, MIN(user_id) AS user_id FROM ${dataset}.deployment_config GROUP BY config_id) AS versions
  ON versions.config_id = limits.version_id
WHERE open_days.max_replicas IS NOT NULL
UNION ALL
SELECT DISTINCT project_id, location, cluster_name, namespace, deployment_name, date, highest_replicas, owner
FROM ${dataset}.closed_days
WHERE object_kind = 'Deployment' AND highest_replicas IS NOT NULL
