-- What each Deployment is charged for a month, as it stands: of a month that is closed its final line with its corrections, else
-- the newest line, in whose place no other stands. Whoever the last line names is charged for all of it.
WITH lines AS (
  SELECT *, 'projects/' || COALESCE(project_id, '') || '/locations/' || COALESCE(location, '') || '/clusters/' || cluster_name AS cluster_id
  FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY line_id ORDER BY computed_at) AS copy FROM ${dataset}.bills
  ) AS copies
  WHERE copy = 1
),
corrected AS (
  SELECT DISTINCT corrects AS line_id FROM lines WHERE corrects IS NOT NULL
),
ordered AS (
  SELECT lines.*,
    SUM(CASE WHEN lines.state IN ('final', 'correction') THEN lines.fee_micros END)
      OVER (PARTITION BY lines.`month`, lines.cluster_id, lines.namespace, lines.deployment_name) AS settled_micros,
    SUM(CASE WHEN lines.state = 'correction' THEN 1 ELSE 0 END)
      OVER (PARTITION BY lines.`month`, lines.cluster_id, lines.namespace, lines.deployment_name) AS corrections,
    FIRST_VALUE(lines.user_id)
      OVER (PARTITION BY lines.`month`, lines.cluster_id, lines.namespace, lines.deployment_name
        ORDER BY CASE WHEN lines.user_id IS NULL THEN 1 ELSE 0 END, lines.computed_at DESC, lines.line_id DESC) AS owner,
    ROW_NUMBER()
      OVER (PARTITION BY lines.`month`, lines.cluster_id, lines.namespace, lines.deployment_name
        ORDER BY CASE WHEN corrected.line_id IS NULL THEN 0 ELSE 1 END, lines.computed_at DESC, lines.line_id DESC) AS age
  FROM lines
  LEFT JOIN corrected ON corrected.line_id = lines.line_id
)
SELECT `month`, timezone, project_id, location, cluster_name, namespace, deployment_name, owner AS user_id,
  COALESCE(settled_micros, fee_micros) AS fee_micros, currency,
  CASE WHEN corrections > 0 THEN 'correction' WHEN settled_micros IS NOT NULL THEN 'final' ELSE state END AS state,
  peak, vcpu_millis, memory_bytes, basis, peak_from, peak_to, peak_source, price_version, explanation, computed_at
FROM ordered
WHERE age = 1
