-- Every statement selects the violations of one invariant: its name, the operation, what is wrong.
-- I1 (every accepted operation ends) needs a quiet service: after the load has ended nothing may be unfinished.
SELECT 'I1 not ended', id, status || ' since ' || created_at FROM operations WHERE finished_at = 0;

SELECT 'I2 chunk indexes are not dense from 0', o.id,
       'next_index ' || o.next_index || ', rows ' || count(c.idx) || ', highest ' || COALESCE(max(c.idx), -1)
  FROM operations o LEFT JOIN chunks c ON c.operation = o.num
 WHERE o.removed = 0 -- the rows of one that is being removed go piece by piece
 GROUP BY o.num, o.id, o.next_index
HAVING count(c.idx) <> o.next_index OR COALESCE(max(c.idx), -1) <> o.next_index - 1;

SELECT 'I2 chunk leaves its text or is empty', o.id, 'index ' || c.idx || ': [' || c.start_byte || ', ' || c.end_byte || ')'
  FROM chunks c JOIN operations o ON o.num = c.operation
 WHERE c.start_byte < 0 OR c.end_byte > o.bytes_total OR c.start_byte >= c.end_byte OR c.start_char >= c.end_char;

-- Each level of a hierarchy advances by itself; facts.go says where the level and the parent are in facts.
SELECT 'I2 chunks do not advance', o.id, 'index ' || c.idx
  FROM (SELECT operation, idx, start_byte, end_byte, start_char, lag(start_byte) OVER level AS start_before,
               lag(end_byte) OVER level AS end_before, lag(start_char) OVER level AS char_before
          FROM chunks
        WINDOW level AS (PARTITION BY operation, ((COALESCE(facts, 0) >> 24) & 255) ORDER BY idx)) c
  JOIN operations o ON o.num = c.operation
 WHERE c.start_byte <= c.start_before OR c.end_byte <= c.end_before OR c.start_char <= c.char_before;

SELECT 'I2 chunk is not inside its parent', o.id, 'index ' || c.idx
  FROM chunks c JOIN operations o ON o.num = c.operation
  LEFT JOIN chunks p ON p.operation = c.operation AND p.idx = c.idx - (c.facts >> 32)
 WHERE o.removed = 0 AND (c.facts >> 32) > 0 AND (p.idx IS NULL OR c.start_byte < p.start_byte OR c.end_byte > p.end_byte);

SELECT 'I2 completed before the end of the text', id, bytes_done || ' of ' || bytes_total
  FROM operations WHERE status = 'completed' AND bytes_done <> bytes_total;

SELECT 'I3 not exactly one terminal event', o.id, count(e.seq) || ' terminal events, status ' || o.status
  FROM operations o
  LEFT JOIN operation_events e ON e.operation = o.num AND e.type IN ('completed', 'failed', 'cancelled')
 WHERE o.removed = 0
 GROUP BY o.num, o.id, o.status, o.finished_at
HAVING count(e.seq) <> CASE WHEN o.finished_at > 0 THEN 1 ELSE 0 END;

SELECT 'I3 terminal event and status differ', o.id, o.status || ' with event ' || e.type
  FROM operations o JOIN operation_events e ON e.operation = o.num
 WHERE e.type IN ('completed', 'failed', 'cancelled') AND e.type <> o.status;

SELECT 'I4 event after the terminal one', o.id, 'seq ' || l.seq || ' ' || l.type
  FROM operation_events t JOIN operation_events l ON l.operation = t.operation AND l.seq > t.seq
  JOIN operations o ON o.num = t.operation
 WHERE t.type IN ('completed', 'failed', 'cancelled');

SELECT 'I5 epoch goes back along seq', o.id, 'seq ' || e.seq
  FROM operation_events e JOIN operation_events p ON p.operation = e.operation AND p.seq = e.seq - 1
  JOIN operations o ON o.num = e.operation
 WHERE e.epoch < p.epoch;

SELECT 'I6 chunk of an older epoch after a newer one', o.id, 'index ' || c.idx
  FROM chunks c JOIN chunks p ON p.operation = c.operation AND p.idx = c.idx - 1 JOIN operations o ON o.num = c.operation
 WHERE c.epoch < p.epoch OR c.epoch > o.epoch;

SELECT 'I7 seq is not dense from 1', o.id, 'seq ' || o.seq || ', events ' || count(e.seq) || ', lowest ' || COALESCE(min(e.seq), 0)
  FROM operations o LEFT JOIN operation_events e ON e.operation = o.num
 WHERE o.removed = 0
 GROUP BY o.num, o.id, o.seq
HAVING count(e.seq) <> o.seq OR COALESCE(min(e.seq), 0) <> 1 OR COALESCE(max(e.seq), 0) <> o.seq;

SELECT 'I7 first event is not the only queued one', o.id, 'seq ' || e.seq || ' ' || e.type
  FROM operation_events e JOIN operations o ON o.num = e.operation
 WHERE (e.seq = 1) <> (e.type = 'queued');

SELECT 'I7 newest event and status differ', o.id, o.status || ' with event ' || e.type
  FROM operations o JOIN operation_events e ON e.operation = o.num AND e.seq = o.seq
 WHERE o.status <> CASE e.type WHEN 'queued' THEN 'queued' WHEN 'retrying' THEN 'queued' WHEN 'handed_over' THEN 'queued'
                               WHEN 'started' THEN 'processing' WHEN 'batch' THEN 'processing' ELSE e.type END;

-- I8 (each client's list equals this one) is checked by the clients, and so is what I11 says of them.
SELECT 'I9 progress goes back within an attempt', o.id, 'seq ' || e.seq
  FROM operation_events e JOIN operation_events p ON p.operation = e.operation AND p.seq = e.seq - 1 AND p.epoch = e.epoch
  JOIN operations o ON o.num = e.operation
 WHERE CAST(e.data ->> 'bytes_done' AS BIGINT) < CAST(p.data ->> 'bytes_done' AS BIGINT)
    OR CAST(e.data ->> 'chunks' AS BIGINT) < CAST(p.data ->> 'chunks' AS BIGINT);

SELECT 'I9 all done but not completed', o.id, 'seq ' || e.seq || ' ' || e.type
  FROM operation_events e JOIN operations o ON o.num = e.operation
 WHERE e.type = 'failed' AND o.bytes_total > 0 AND CAST(e.data ->> 'bytes_done' AS BIGINT) >= o.bytes_total;

SELECT 'I10 idempotency key without its operation', k.key, 'operation ' || k.operation
  FROM idempotency_keys k LEFT JOIN operations o ON o.num = k.operation AND o.owner = k.owner
 WHERE o.num IS NULL;

SELECT 'I10 operation of two idempotency keys', o.id, count(*) || ' keys'
  FROM idempotency_keys k JOIN operations o ON o.num = k.operation
 GROUP BY o.num, o.id
HAVING count(*) > 1;

SELECT 'I11 operation on the document of another owner', o.id, 'owner ' || o.owner || ', document of ' || d.owner
  FROM operations o JOIN documents d ON d.num = o.document
 WHERE d.owner <> o.owner;

SELECT 'I12 chunks of no operation', '', 'operation number ' || c.operation || ', ' || count(*) || ' chunks'
  FROM chunks c LEFT JOIN operations o ON o.num = c.operation
 WHERE o.num IS NULL
 GROUP BY c.operation;

SELECT 'I12 events of no operation', '', 'operation number ' || e.operation || ', ' || count(*) || ' events'
  FROM operation_events e LEFT JOIN operations o ON o.num = e.operation
 WHERE o.num IS NULL
 GROUP BY e.operation;

SELECT 'I12 deliveries of no operation', '', 'operation number ' || x.operation || ', ' || count(*) || ' deliveries'
  FROM webhook_deliveries x LEFT JOIN operations o ON o.num = x.operation
 WHERE o.num IS NULL
 GROUP BY x.operation;

SELECT 'I12 delivery of another owner', o.id, 'delivery ' || x.id FROM webhook_deliveries x JOIN operations o ON o.num = x.operation
 WHERE o.owner <> x.owner;

SELECT 'I12 place in a batch of no operation', '', 'batch ' || b.batch || ', operation number ' || b.operation
  FROM batch_operations b LEFT JOIN operations o ON o.num = b.operation
 WHERE o.num IS NULL;

SELECT 'I12 operation in a batch of nobody or of another owner', o.id, 'batch number ' || p.batch
  FROM batch_operations p JOIN operations o ON o.num = p.operation LEFT JOIN batches b ON b.num = p.batch AND b.owner = o.owner
 WHERE b.num IS NULL;

SELECT 'I12 parts of no document', '', 'document number ' || p.key / 65536 || ', ' || count(*) || ' parts'
  FROM document_parts p LEFT JOIN documents d ON d.num = p.key / 65536
 WHERE d.num IS NULL
 GROUP BY p.key / 65536;

SELECT 'I12 a lease is held', id, worker FROM operations WHERE lease_until > 0;

SELECT 'I12 document parts do not make its text', d.id,
       d.bytes || ' bytes, parts ' || COALESCE(sum(length(p.body)), 0)
  FROM documents d LEFT JOIN document_parts p ON p.key BETWEEN d.num * 65536 AND d.num * 65536 + 65535
 WHERE d.state = 'ready'
 GROUP BY d.num, d.id, d.bytes
HAVING COALESCE(sum(length(p.body)), 0) <> d.bytes;
