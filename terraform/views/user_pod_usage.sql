-- What each user had in force on each day (UTC), over all Deployments, by the owner as of that day.
SELECT owner AS user_id, date, SUM(max_replicas) AS max_pods
FROM ${dataset}.daily_max_replicas
WHERE owner IS NOT NULL
GROUP BY owner, date
