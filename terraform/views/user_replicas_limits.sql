-- What each user has applied for in all: the sum of the limits now in force.
SELECT user_id, SUM(max_replicas) AS max_replicas, MAX(updated_at) AS updated_at
FROM ${dataset}.current_limits
GROUP BY user_id
