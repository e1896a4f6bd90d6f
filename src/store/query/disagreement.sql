-- The earliest write of closed days of which the order, knowing more, now makes something else: one that is carried out of
-- them, or a call that timed out in them and is shown by a write behind them, which counts on the day of the call.
WITH ${told}
carried AS (
  SELECT * FROM (SELECT * FROM ${dataset}.carried_writes WHERE FALSE) AS known WHERE carried = 'open' AND object_name IS NOT NULL
)
SELECT MIN(event_time) AS earliest FROM (
SELECT carried.event_time
FROM carried
LEFT JOIN changed ON changed.object_id = carried.object_id AND changed.write_id = carried.write_id
LEFT JOIN ${dataset}.placed_writes AS placed ON placed.object_id = carried.object_id AND placed.write_id = carried.write_id
LEFT JOIN ended ON ended.object_id = carried.object_id AND ended.life = placed.life
WHERE COALESCE(changed.told, '') <> COALESCE(carried.told, '')
  OR carried.told_end IS NOT NULL AND carried.told_end <> COALESCE(ended.told_end, '')
UNION ALL
SELECT event_time FROM ${dataset}.ordered_changes
WHERE carried IS NULL AND event_time < @closed_through AND effective_time >= @closed_through
) AS changed_since
