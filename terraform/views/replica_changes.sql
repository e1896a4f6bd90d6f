-- Each change of a watched number that stands, judged. That an HPA comes to find its Deployment, or does not any more, while
-- its numbers stand, is none: what is held against it begins or ends there.
SELECT * FROM ${dataset}.judged_changes
WHERE verdict = 'removed' OR replicas IS NULL OR previous_replicas IS NULL OR missed_writes > 0
  OR replicas <> previous_replicas OR COALESCE(min_replicas, -1) <> COALESCE(previous_min_replicas, -1)
