-- The rows of object_days that count; one may be there twice. A day that something came late for is open again, with those
-- behind it.
SELECT days.*
FROM ${dataset}.object_days AS days
CROSS JOIN ${dataset}.closings AS closings
CROSS JOIN (SELECT through FROM ${dataset}.open_since WHERE namespace = '') AS others
LEFT JOIN ${dataset}.open_since AS late ON late.namespace = days.namespace AND late.namespace <> ''
WHERE closings.closing = days.closing
  AND closings.through <= CASE WHEN late.namespace IS NULL THEN others.through ELSE late.through END
