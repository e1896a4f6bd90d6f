-- The lives of each object, in the order of their births: a deleted and re-created object has a new uid, and a new life.
WITH begun AS (
  -- A create without an answer that is known to be stored began a life too, which shows no uid.
  SELECT *,
    COALESCE(object_uid, CASE WHEN operation = 'create' AND outcome = 'stored' THEN write_id END) AS life_key,
    -- Compares as the number that it is: by length, then as text.
    SUBSTR('000' || CAST(LENGTH(object_version) AS ${text}), -4) || object_version AS version_key
  FROM ${dataset}.writes
  WHERE object_kind <> 'Cluster' AND object_name IS NOT NULL
),
shown AS (
  SELECT object_id, life_key, MAX(object_uid) AS object_uid, MIN(born_at) AS shown_at, MIN(version_key) AS first_version,
    MIN(COALESCE(life_first_time, event_time)) AS first_time,
    MAX(CASE WHEN life_has_create OR operation = 'create' AND outcome = 'stored' THEN 1 ELSE 0 END) AS has_create,
    -- How it began was told by writes that are not read any more.
    MAX(life_starts_at) AS carried_start
  FROM begun
  WHERE life_key IS NOT NULL
  GROUP BY object_id, life_key
),
preceded AS (
  SELECT *,
    MAX(CASE WHEN object_uid IS NOT NULL THEN shown_at END) OVER (
      PARTITION BY object_id ORDER BY COALESCE(shown_at, first_time) ROWS UNBOUNDED PRECEDING) AS last_shown
  FROM shown
),
births AS (
  -- A delete shows no birth. One that is received within a minute behind the birth of another ended the one before that.
  SELECT object_id, life_key, object_uid, first_version, first_time, has_create, carried_start,
    CASE WHEN shown_at IS NULL AND has_create = 0 AND object_uid IS NOT NULL
      AND MICROS_OF(first_time) - MICROS_OF(last_shown) <= 60000000 THEN last_shown ELSE COALESCE(shown_at, first_time) END AS born_at,
    CASE WHEN shown_at IS NULL AND has_create = 0 AND object_uid IS NOT NULL
      AND MICROS_OF(first_time) - MICROS_OF(last_shown) <= 60000000 THEN 0 ELSE 1 END AS is_born
  FROM preceded
),
neighbours AS (
  SELECT *,
    LAG(born_at) OVER born AS born_before, LAG(object_uid) OVER born AS uid_before, LAG(has_create) OVER born AS create_before,
    LEAD(born_at) OVER born AS born_after, LEAD(object_uid) OVER born AS uid_after, LEAD(has_create) OVER born AS create_after
  FROM births
  WINDOW born AS (PARTITION BY object_id ORDER BY born_at, is_born, first_version, first_time, life_key)
),
adopted AS (
  -- A create without an answer began the life that was born with it, if that has no create of its own.
  SELECT *,
    object_uid IS NULL AND COALESCE(
      uid_before IS NOT NULL AND create_before = 0 AND MICROS_OF(born_at) - MICROS_OF(born_before) < 1000000
        OR uid_after IS NOT NULL AND create_after = 0 AND MICROS_OF(born_after) - MICROS_OF(born_at) <= 60000000, FALSE) AS is_adopted,
    -- A birth is told to the second; such a create tells it better.
    CASE
      WHEN carried_start IS NOT NULL THEN carried_start
      WHEN object_uid IS NOT NULL AND uid_before IS NULL AND born_before IS NOT NULL AND has_create = 0
        AND MICROS_OF(born_at) - MICROS_OF(born_before) <= 60000000 THEN born_before
      ELSE born_at
    END AS starts_at
  FROM neighbours
)
SELECT object_id, life_key, object_uid, starts_at, first_time, has_create,
  ROW_NUMBER() OVER (PARTITION BY object_id ORDER BY born_at, is_born, first_version, first_time, life_key) AS life,
  LEAD(starts_at) OVER (PARTITION BY object_id ORDER BY born_at, is_born, first_version, first_time, life_key) AS next_starts_at
FROM adopted
WHERE NOT is_adopted
