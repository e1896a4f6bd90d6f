-- The alerts: one row for each segment, a run of one number over one limit (or of one rule's condition), with its first
-- write, or the limit that began on a standing number, as the cause; and what was raised for it. `stands` is false for
-- what was raised and has no segment any more, because the order or a later version took its ground away.
WITH unplaced AS (
  -- What has no place in an object's order: what may have removed something, and a create that nothing names.
  SELECT writes.*, rules.alert_type
  FROM ${dataset}.writes AS writes
  CROSS JOIN (SELECT 'unknown_removal' AS alert_type UNION ALL SELECT 'unknown_value' UNION ALL SELECT 'bypass') AS rules
  WHERE CASE
    WHEN operation IN ('delete', 'delete_collection')
      THEN alert_type = 'unknown_removal' AND object_state IS NULL AND object_kind <> 'Cluster'
    WHEN operation = 'create' AND object_name IS NULL AND outcome = 'stored'
      THEN alert_type = 'unknown_value' OR alert_type = 'bypass' AND route IN ('bypass', 'unknown')
    ELSE FALSE
  END
),
segments AS (
  SELECT
    alert_type, object_id, segment, alert_time, project_id, location, cluster_name, namespace, deployment_name,
    object_kind, object_name, object_uid, object_version, event_id, write_id, is_write, touched, replicas,
    limit_max_replicas, limit_initial_max_replicas, limit_id, actor, on_behalf_of, route
  FROM ${dataset}.conditions
  WHERE begins = 1 AND NOT is_past
  UNION ALL
  -- What has no place is a segment of its own.
  SELECT
    alert_type, object_id, write_id, event_time, project_id, location, cluster_name, namespace, deployment_name,
    object_kind, object_name, object_uid, object_version, event_id, write_id, TRUE, touched, replicas, NULL, NULL, NULL, actor,
    on_behalf_of, route
  FROM unplaced
  WHERE in_scope
),
placed AS (
  SELECT raised.alert_id, raised.alert_time, raised.alert_time = placed.event_time AS at_write, placed.object_id, placed.life,
    COALESCE(CAST(placed.version_rank AS ${text}), placed.write_id) AS credit_key
  FROM ${dataset}.raised_alerts AS raised
  JOIN ${dataset}.placed_writes AS placed ON placed.event_id = raised.event_id
),
about AS (
  -- What each was raised about: the write that has the credit for the version that its own shows; and when: at that write, or
  -- when a limit began or ended on the number that stood then, whoever is known by now to have set it last.
  SELECT placed.alert_id, placed.object_id, placed.life, ordered.write_id, at_write,
    CASE WHEN at_write OR ordered.effective_time > alert_time THEN ordered.effective_time ELSE alert_time END AS seen_at,
    CASE WHEN at_write THEN ordered.event_time ELSE alert_time END AS about_time
  FROM placed
  JOIN ${dataset}.ordered_writes AS ordered
    ON ordered.object_id = placed.object_id AND ordered.life = placed.life AND ordered.credit_key = placed.credit_key
),
found AS (
  -- And the numbers that it may be about: the one that its write brought, on either side of an HPA that turned, and the one
  -- that it found, the last before.
  SELECT alert_id, object_id, life, seen_at, write_id, about_time, at_write,
    CASE sides.side WHEN 0 THEN standing WHEN 1 THEN first_own ELSE last_own END AS position
  FROM (
    SELECT *,
      MAX(position) OVER (
        PARTITION BY object_id, life ORDER BY seen_at, CASE WHEN alert_id = '' THEN 0 ELSE 1 END ROWS UNBOUNDED PRECEDING) AS standing,
      MIN(position) OVER by_write AS first_own, MAX(position) OVER by_write AS last_own
    FROM (
      SELECT '' AS alert_id, object_id, life, effective_time AS seen_at, write_id, event_time AS about_time, TRUE AS at_write, position
      FROM ${dataset}.judged_changes
      UNION ALL
      SELECT alert_id, object_id, life, seen_at, write_id, about_time, at_write, NULL FROM about
    ) AS instants
    WINDOW by_write AS (PARTITION BY object_id, life, write_id)
  ) AS asked
  CROSS JOIN (SELECT 0 AS side UNION ALL SELECT 1 UNION ALL SELECT 2) AS sides
  WHERE alert_id <> ''
),
matching AS (
  SELECT raised.alert_id, conditions.object_id, conditions.segment,
    -- One number can be in several segments of a rule, because limits begin and end on it: the one that was there counts,
    -- else the nearest.
    ROW_NUMBER() OVER (
      PARTITION BY raised.alert_id
      ORDER BY CASE WHEN conditions.alert_time <= about.about_time THEN 0 ELSE 1 END,
        ABS(MICROS_OF(conditions.alert_time) - MICROS_OF(about.about_time)), conditions.point DESC) AS distance
  FROM ${dataset}.raised_alerts AS raised
  JOIN found AS about ON about.alert_id = raised.alert_id
  JOIN ${dataset}.conditions AS conditions
    ON conditions.object_id = about.object_id AND conditions.life = about.life
    AND conditions.position = about.position AND conditions.alert_type = raised.alert_type
    -- What began on a number is about the Deployment that it was for then, and no other that an HPA has turned to.
    AND (about.at_write OR COALESCE(conditions.deployment_name, '') = COALESCE(raised.deployment_name, conditions.deployment_name, ''))
    -- It says nothing of a limit that began or ended later on the same number.
    AND (conditions.is_write OR conditions.alert_time <= about.about_time)
    AND (conditions.write_id = about.write_id OR conditions.next_time IS NULL OR about.seen_at < conditions.next_time)
    AND CASE raised.alert_type
      WHEN 'over_limit' THEN conditions.replicas = raised.replicas AND conditions.limit_max_replicas = raised.limit_max_replicas
      WHEN 'over_initial' THEN conditions.replicas = raised.replicas AND conditions.limit_initial_max_replicas = raised.limit_initial_max_replicas
      WHEN 'outside_platform_range' THEN conditions.replicas = raised.replicas
      WHEN 'bypass' THEN conditions.write_id = about.write_id
      ELSE TRUE
    END
),
folded AS (
  SELECT alert_id, object_id, segment FROM matching WHERE distance = 1
  UNION ALL
  SELECT raised.alert_id, unplaced.object_id, unplaced.write_id
  FROM ${dataset}.raised_alerts AS raised
  JOIN unplaced ON unplaced.event_id = raised.event_id AND unplaced.alert_type = raised.alert_type
),
told AS (
  -- The alert that was raised first speaks for its segment.
  SELECT * FROM (
    SELECT raised.alert_id, raised.alert_type, folded.object_id, folded.segment,
      MIN(raised.ingested_at) OVER segment_alerts AS raised_at, COUNT(*) OVER segment_alerts AS raised,
      MAX(raised.alert_time) OVER segment_alerts AS last_time,
      ROW_NUMBER() OVER (
        PARTITION BY raised.alert_type, folded.object_id, folded.segment ORDER BY raised.alert_time, raised.alert_id) AS number
    FROM ${dataset}.raised_alerts AS raised
    JOIN folded ON folded.alert_id = raised.alert_id
    WINDOW segment_alerts AS (PARTITION BY raised.alert_type, folded.object_id, folded.segment)
  ) AS counted
  WHERE number = 1
)
SELECT
  told.alert_id, segments.alert_time, segments.alert_type, spoken.severity, spoken.message, segments.project_id,
  segments.location, segments.cluster_name, segments.namespace, segments.deployment_name, segments.object_kind,
  segments.object_name, segments.object_uid, segments.object_version, segments.event_id, segments.write_id,
  segments.is_write, segments.touched, segments.replicas, segments.limit_max_replicas,
  segments.limit_initial_max_replicas, segments.limit_id, segments.actor, segments.on_behalf_of, segments.route, told.raised_at, COALESCE(told.raised, 0) AS raised,
  COALESCE(told.last_time, segments.alert_time) AS last_time, TRUE AS stands,
  -- The name that the first release had for it.
  told.raised_at AS ingested_at
FROM segments
LEFT JOIN told
  ON told.alert_type = segments.alert_type AND told.object_id = segments.object_id AND told.segment = segments.segment
LEFT JOIN ${dataset}.raised_alerts AS spoken ON spoken.alert_id = told.alert_id
UNION ALL
SELECT
  raised.alert_id, raised.alert_time, raised.alert_type, raised.severity, raised.message, raised.project_id,
  raised.location, raised.cluster_name, raised.namespace, raised.deployment_name, NULL, NULL, NULL, NULL, raised.event_id,
  NULL, TRUE, NULL, raised.replicas, raised.limit_max_replicas, raised.limit_initial_max_replicas, raised.limit_id,
  raised.actor, raised.on_behalf_of, raised.route, raised.ingested_at, 1, raised.alert_time,
  -- What the daily comparison found is about no write, and stands as it was found.
  raised.event_id IS NULL,
  raised.ingested_at
FROM ${dataset}.raised_alerts AS raised
LEFT JOIN folded ON folded.alert_id = raised.alert_id
WHERE folded.alert_id IS NULL
