package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/store"
)

// TestInvariantsSee spoils a sound database in one way after the other: each must be found, by the invariant that says it.
func TestInvariantsSee(t *testing.T) { onEach(t, testInvariantsSee) }

func testInvariantsSee(t *testing.T, on backend) {
	for spoilt, want := range map[string]string{
		``: ``,
		// Completed: events 1 queued, 2 started, 3 batch, 4 completed, with chunks 0 to 3 of 10 bytes.
		`UPDATE operations SET status = 'queued', finished_at = 0 WHERE name = 'a'`:                                                      "I1 not ended",
		`DELETE FROM chunks WHERE idx = 1`:                                                                                               "I2 chunk indexes are not dense from 0",
		`UPDATE chunks SET end_byte = 1000 WHERE idx = 3`:                                                                                "I2 chunk leaves its text or is empty",
		`UPDATE chunks SET start_byte = 0 WHERE idx = 2`:                                                                                 "I2 chunks do not advance",
		`UPDATE chunks SET facts = (CAST(1 AS BIGINT) << 32) + (1 << 24) WHERE idx = 2`:                                                  "I2 chunk is not inside its parent",
		`UPDATE operations SET bytes_done = 7 WHERE name = 'a'`:                                                                          "I2 completed before the end of the text",
		`UPDATE operation_events SET type = 'batch' WHERE seq = 4`:                                                                       "I3 not exactly one terminal event",
		`UPDATE operation_events SET type = 'failed' WHERE seq = 4`:                                                                      "I3 terminal event and status differ",
		`UPDATE operation_events SET type = 'cancelled' WHERE seq = 3`:                                                                   "I4 event after the terminal one",
		`UPDATE operation_events SET epoch = 0 WHERE seq = 3`:                                                                            "I5 epoch goes back along seq",
		`UPDATE chunks SET epoch = 0 WHERE idx = 2`:                                                                                      "I6 chunk of an older epoch after a newer one",
		`DELETE FROM operation_events WHERE seq = 2`:                                                                                     "I7 seq is not dense from 1",
		`UPDATE operation_events SET type = 'queued' WHERE seq = 3`:                                                                      "I7 first event is not the only queued one",
		`UPDATE operations SET status = 'cancelled' WHERE name = 'a'`:                                                                    "I7 newest event and status differ",
		`UPDATE operation_events SET data = '{"bytes_done":99,"chunks":1}' WHERE seq = 3`:                                                "I9 progress goes back within an attempt",
		`UPDATE operation_events SET type = 'failed' WHERE seq >= 4`:                                                                     "I9 all done but not completed",
		`UPDATE idempotency_keys SET operation = operation + 1000`:                                                                       "I10 idempotency key without its operation",
		`INSERT INTO idempotency_keys SELECT owner, 'other', request_hash, operation, 1 FROM idempotency_keys`:                           "I10 operation of two idempotency keys",
		`UPDATE documents SET owner = 'somebody'`:                                                                                        "I11 operation on the document of another owner",
		`INSERT INTO chunks SELECT operation + 1000, idx, epoch, start_byte, end_byte, start_char, end_char, facts, context FROM chunks`: "I12 chunks of no operation",
		`INSERT INTO operation_events SELECT operation + 1000, seq, epoch, type, at, data FROM operation_events`:                         "I12 events of no operation",
		`INSERT INTO document_parts (key, start_byte, body) SELECT key + 65536000, start_byte, body FROM document_parts`:                 "I12 parts of no document",
		`UPDATE operations SET status = 'processing', lease_until = 5, finished_at = 0 WHERE name = 'a'`:                                 "I12 a lease is held",
		`UPDATE documents SET bytes = 7`:                                                                                                 "I12 document parts do not make its text",
	} {
		s := on.open(t, store.Config{})
		text := strings.Repeat("0123456789", 4)
		_, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Name: "a", Staged: stage(t, s, text), Strategy: "recursive",
			Settings: []byte(`{}`), SplitterVersion: "1", IdempotencyKey: "key"})
		if err != nil {
			t.Fatal(err)
		}
		runs, _, err := s.Claim(t.Context(), store.Claim{Worker: "w", Lane: store.Small, Slots: 1, Bytes: 1 << 20, SplitterVersion: "1", Lease: time.Minute})
		if err != nil || len(runs) != 1 {
			t.Fatalf("%d runs, %v", len(runs), err)
		}
		chunks := cut(0, text, 10)
		if _, err := runs[0].Commit(t.Context(), store.Batch{Chunks: chunks[:2], BytesDone: 20}); err != nil {
			t.Fatal(err)
		}
		ev, err := runs[0].Commit(t.Context(), store.Batch{First: 2, Chunks: chunks[2:], BytesDone: 40, Last: true})
		if err != nil || ev.Event.Type != event.Completed {
			t.Fatalf("%+v, %v", ev, err)
		}
		if spoilt != "" {
			s.Spoil(t, spoilt)
		}
		lines, err := s.CheckInvariants(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want+":") })
		if want == "" && len(lines) > 0 || want != "" && !seen {
			t.Errorf("%q: want %q, got %q", spoilt, want, lines)
		}
	}
}
