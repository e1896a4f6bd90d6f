-- The last closing that ended before yesterday, where that was within two days: one row.
SELECT MAX(through) AS through, MAX(closing) AS closing
FROM (
  SELECT *, ROW_NUMBER() OVER (ORDER BY through DESC) AS age
  FROM ${dataset}.closings
  WHERE through BETWEEN DAYS_AGO(2) AND DAYS_AGO(1)
) AS aged
WHERE age = 1
