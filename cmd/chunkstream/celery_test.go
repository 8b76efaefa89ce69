package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"chunkstream/servertest"
	"chunkstream/store"
)

// TestCelery has a Python producer with the real Celery send its tasks to a worker that is killed in the middle.
func TestCelery(t *testing.T) {
	t.Parallel()
	redis, data := servertest.StartRedis(t), t.TempDir()
	start := func() *server {
		return startProcess(t, "worker", servertest.FreeAddress(t), nil, "--data", data, "--lease", "1s",
			"--celery-broker", redis.URL(), "--celery-visibility", "2s").ready()
	}
	cmd := exec.Command("/usr/bin/python3", "../../celery/testdata/producer.py", redis.URL())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the producer: %v", err)
		}
	}()
	lines := bufio.NewReader(out)
	do := func(answer any, step map[string]any) {
		t.Helper()
		if err := json.NewEncoder(in).Encode(step); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, answer)
		}
		if err != nil {
			t.Fatalf("the producer said %q: %v", line, err)
		}
	}
	type outcome struct {
		State  string
		Result struct {
			OperationID string `json:"operation_id"`
			RequestID   string `json:"request_id"`
			DocumentID  string `json:"document_id"`
			Chunks      int64
			Bytes       int64
		}
		Type, Words string
	}
	send := func(id string, kwargs map[string]any) {
		t.Helper()
		kwargs["operation_id"] = "their-" + id
		do(&id, map[string]any{"do": "send", "task_id": id, "kwargs": kwargs})
	}
	get := func(id string) (o outcome) {
		t.Helper()
		do(&o, map[string]any{"do": "get", "id": id, "timeout": 60})
		return o
	}

	text := realText(t, 4<<20/slowdown)
	first := start()
	send("big", map[string]any{"text": text, "strategy": "recursive", "config": map[string]any{"chunk_size": 200}})
	state := ""
	for state != "STARTED" && state != "SUCCESS" {
		do(&state, map[string]any{"do": "state", "id": "big"})
	}
	first.kill()
	began := time.Now()
	second := start()
	big := get("big")
	t.Logf("killed when %s, the result came %v after", state, time.Since(began).Round(10*time.Millisecond))
	if big.State != "SUCCESS" || big.Result.Bytes != int64(len(text)) || big.Result.Chunks < 1000 ||
		big.Result.RequestID != "their-big" {
		t.Fatalf("big: got %+v", big)
	}
	send("again", map[string]any{"document_id": big.Result.DocumentID, "config": map[string]any{"chunk_size": 100000}})
	if got := get("again"); got.State != "SUCCESS" || got.Result.DocumentID != big.Result.DocumentID {
		t.Errorf("its document again: got %+v", got)
	}
	for i, c := range []struct {
		kwargs      map[string]any
		kind, words string
	}{
		{map[string]any{"text": "x", "strategy": "clever"}, "ValueError", "strategy"},
		{map[string]any{"text": "x", "config": map[string]any{"chunk_size": -1}}, "ValueError", "chunk_size"},
		{map[string]any{"text": ""}, "ValueError", "no text"},
		{map[string]any{"text": "a\x00b"}, "ValueError", "text: "},
		{map[string]any{"document_id": "17"}, "LookupError", "no such document here"},
		{map[string]any{"document_id": "a\x00b"}, "ValueError", "not the id of a document"},
	} {
		id := fmt.Sprint("bad", i)
		send(id, c.kwargs)
		if got := get(id); got.State != "FAILURE" || got.Type != c.kind || !strings.Contains(got.Words, c.words) {
			t.Errorf("%v: got %+v, want %s: %s", c.kwargs, got, c.kind, c.words)
		}
	}
	second.stop()
	db := checkDatabase(t, sqliteIn(data))
	ops, _, err := db.Operations(t.Context(), "local", store.Filter{})
	if err != nil || len(ops) != 2 {
		t.Errorf("got %d operations, want the two that could be done: %v", len(ops), err)
	}
}
