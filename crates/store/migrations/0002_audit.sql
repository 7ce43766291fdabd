-- Whose token it was: a name may be chosen, this may not. Rows from before have none.
ALTER TABLE audit ADD COLUMN participant_id TEXT;

-- INSERT OR REPLACE puts a new row in the place of an old one without asking the triggers on UPDATE and DELETE.
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN
    SELECT RAISE (ABORT, 'the audit log is append-only');
END;
-- Before an insert an id that is still to be given reads as -1, so no row may have that one.
CREATE TRIGGER audit_positive_ids AFTER INSERT ON audit
WHEN NEW.id < 1
BEGIN
    SELECT RAISE (ABORT, 'the audit log is append-only');
END;
