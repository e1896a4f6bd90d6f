-- The ledger's tables. Not in BigQuery, which has no compare-and-set; what is added to them later may be null.
CREATE TABLE IF NOT EXISTS ledger_documents (
  key TEXT PRIMARY KEY,
  revision INTEGER NOT NULL,
  due_at TEXT,
  body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ledger_documents_by_due_at ON ledger_documents (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS ledger_open_in (
  place TEXT NOT NULL,
  key TEXT NOT NULL,
  PRIMARY KEY (place, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ledger_open_in_by_key ON ledger_open_in (key);
CREATE TABLE IF NOT EXISTS notifications (
  notification_id TEXT PRIMARY KEY,
  incident_id TEXT NOT NULL,
  receiver TEXT NOT NULL,
  seq INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  content TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  due_at TEXT,
  owner TEXT,
  unsure INTEGER NOT NULL,
  last_error TEXT,
  provider_ref TEXT,
  sent_at TEXT
);
CREATE INDEX IF NOT EXISTS notifications_by_due_at ON notifications (receiver, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS notifications_by_incident ON notifications (incident_id, receiver, seq);
CREATE INDEX IF NOT EXISTS notifications_by_state ON notifications (state, created_at);
