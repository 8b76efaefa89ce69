package main

// bugs are those of the list in the research that this project began with, as they would look in this code. Each must
// compile, and each must be found.
var bugs = []bug{
	{1, "a batch is written whatever the epoch",
		[]edit{{"store/run.go", `AND epoch = $6 AND status = 'processing' AND next_index = $7`,
			`AND (NOT $3 OR epoch = $6) AND status = 'processing' AND next_index = $7`}},
		check{chaos: "--store postgres --redis no --faults 40 --sql-faults 0 --only freeze"}},
	{2, "an operation is completed whatever the epoch",
		[]edit{{"store/run.go", `AND epoch = $6 AND status = 'processing' AND next_index = $7`,
			`AND ($3 OR epoch = $6) AND status = 'processing' AND next_index = $7`}},
		check{chaos: "--store postgres --redis no --faults 40 --sql-faults 0 --only freeze"}},
	{3, "a lease runs by the worker's clock",
		[]edit{
			{"store/run.go", "lease_until = `+nowMs+` + $2, started_at", "lease_until = $2, started_at"},
			{"store/run.go", "[]any{worker, r.lease, r.num, was.Attempt", "[]any{worker, time.Now().UnixMilli() + r.lease, r.num, was.Attempt"},
			{"store/run.go", "THEN 0 ELSE `+nowMs+` + $4 END,", "THEN 0 ELSE $4 END,"},
			{"store/run.go", "[]any{next, b.BytesDone, b.Last, r.lease,", "[]any{next, b.BytesDone, b.Last, time.Now().UnixMilli() + r.lease,"},
			{"store/run.go", "SET lease_until = `+nowMs+` + $1\n", "SET lease_until = $1\n"},
			{"store/run.go", "				[]any{r.lease, r.num, r.epoch}, func(scan scan) error {", "				[]any{time.Now().UnixMilli() + r.lease, r.num, r.epoch}, func(scan scan) error {"},
		},
		check{chaos: "--store postgres --redis no --faults 20 --sql-faults 0 --only kill"}},
	{4, "workers are woken before the commit",
		[]edit{{"api/submit.go", "	made, err = a.cfg.Store.Create(ctx, n)\n",
			"	if n.Staged != nil {\n		a.cfg.Wake(store.LaneOf(n.Staged.Bytes), \"\")\n	}\n	made, err = a.cfg.Store.Create(ctx, n)\n"},
			{"api/submit.go", "		a.cfg.Wake(store.LaneOf(made.Operation.BytesTotal), made.Operation.ID)\n", ""}},
		check{pkg: "./api", test: "TestToldAfterTheCommit"}},
	{5, "idle workers do not look into SQL by themselves",
		[]edit{{"worker/worker.go", "		case <-again:\n		case <-poll.C:\n", "		case <-again:\n"}},
		check{chaos: "--store postgres --redis yes --faults 10 --redis-faults 40 --sql-faults 0"}},
	{6, "an event is published before its commit",
		[]edit{{"worker/worker.go", "	ev, err := r.Commit(ctx, store.Batch{",
			`	early := *r.last.Load()
	early.Seq++
	early.Type, early.Data.Chunks, early.Data.BytesDone = event.Batch, b.first+int64(len(b.chunks)), b.bytesDone
	if last {
		early.Type, early.Data.Status, early.Data.Phase, early.Data.Worker = event.Completed, "completed", "", ""
	}
	w.publish(event.Owned{Owner: r.Started.Owner, Event: early})
	ev, err := r.Commit(ctx, store.Batch{`}},
		check{chaos: "--store postgres --redis yes --faults 40 --redis-faults 5 --sql-faults 5"}},
	{7, "the number on the wire is Redis's own count",
		[]edit{{"live/keys.go", "      redis.call('PUBLISH', ARGV[3], ARGV[i + 4])\n",
			`      local n = redis.call('INCR', 'count:' .. KEYS[1])
      local text = string.gsub(ARGV[i + 4], '^{"seq":%d+', '{"seq":' .. n)
      redis.call('PUBLISH', ARGV[3], text)
`}},
		check{chaos: "--store postgres --redis yes --faults 20 --redis-faults 40 --sql-faults 0"}},
	{8, "a failed XADD is no error",
		[]edit{{"live/keys.go", "if failure then\n  return redis.error_reply(failure)\nend\nreturn {before, missing}", "return {before, missing}"}},
		check{pkg: "./live", test: "TestStreamIsMended"}},
	{9, "the snapshot is read before the subscription",
		[]edit{
			{"live/stream.go", "	err = h.admit(r, s, func() <-chan struct{} {\n		s.topic = ",
				"	snapshot, early := h.source.Snapshot(r.Context(), owner, id)\n	err = h.admit(r, s, func() <-chan struct{} {\n		s.topic = "},
			{"live/stream.go", "	snapshot, err := h.source.Snapshot(ctx, owner, id)\n	if err != nil {", "	_ = ctx\n	if err := early; err != nil {"},
		},
		check{pkg: "./live", test: "TestPublishWhileSubscribing"}},
	{10, "an event is delivered without the ones before it",
		[]edit{{"live/topic.go", "	default:\n		h.wanted(t, f.seq)\n	}\n}\n\n// push appends", "	default:\n		h.push(t, f)\n	}\n}\n\n// push appends"}},
		check{chaos: "--store postgres --redis yes --faults 10 --redis-faults 40 --sql-faults 0"}},
	{11, "Last-Event-ID is off by one",
		[]edit{{"live/since.go", "	return since, true, nil\n", "	return max(since-1, 0), true, nil\n"}},
		check{chaos: "--store sqlite --redis no --faults 10 --sql-faults 0"}},
	{12, "progress is sent after the end",
		[]edit{{"live/outbox.go", "		progress, b.progress, b.due = nil, nil, false", "		progress = nil"}},
		check{pkg: "./live", test: "TestNoProgressAfterTheEnd"}},
	{13, "a cancel ends an operation in any state",
		[]edit{
			{"store/run.go", "		switch op.Status {\n		case Queued:\n", "		switch op.Status {\n		case Queued, Completed, Failed:\n"},
			{"store/run.go", " WHERE num = $1 AND status = 'queued' RETURNING seq, finished_at`", " WHERE num = $1 RETURNING seq, finished_at`"},
		},
		check{chaos: "--store sqlite --redis no --faults 20 --sql-faults 0"}},
	{14, "an idempotency key is looked up, then written whoever was there first",
		[]edit{{"store/create.go", "VALUES ($1, $2, $3, (SELECT num FROM operations WHERE id = $4), `+nowMs+`)`,",
			"VALUES ($1, $2, $3, (SELECT num FROM operations WHERE id = $4), `+nowMs+`) ON CONFLICT DO NOTHING`,"}},
		check{chaos: "--store postgres --redis no --faults 40 --sql-faults 0"}},
	{15, "a write to Redis is sent again after a lost answer",
		[]edit{{"redisconn/commands.go", "		if q.read && attempt == 1 &&", "		if attempt == 1 &&"}},
		check{pkg: "./redisconn", test: "TestExecutedThenDropped"}},
	{16, "reads that wait share a connection with others",
		[]edit{{"redisconn/blocking.go", "	q.block = true\n", ""}},
		check{pkg: "./redisconn", test: "TestBlocking|TestSilent|TestClose"}},
}
