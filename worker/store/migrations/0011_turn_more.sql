-- What a turn goes on with wherever it runs, and how it was answered.

ALTER TABLE turn ADD COLUMN traceparent   text;                             -- W3C trace context of the request that began it
ALTER TABLE turn ADD COLUMN cached_answer boolean NOT NULL DEFAULT false;   -- the answer was there before, and no model was asked
