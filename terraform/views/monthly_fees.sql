-- What each owner is charged for a month, as it stands, for how many Deployments, and how many of them are not settled yet. Sums
-- of fee_micros are exact; fee is for pictures.
SELECT `month`, user_id, currency, COUNT(*) AS deployments,
  SUM(CASE WHEN state IN ('final', 'correction') THEN 0 ELSE 1 END) AS unsettled,
  SUM(fee_micros) AS fee_micros, SUM(fee_micros) / 1000000.0 AS fee
FROM ${dataset}.current_bills
GROUP BY `month`, user_id, currency
