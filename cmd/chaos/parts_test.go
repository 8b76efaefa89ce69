package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"chunkstream/client"
	"chunkstream/event"
)

func planned(t *testing.T, args ...string) (config, map[string][]fault) {
	t.Helper()
	cfg, err := parse(args, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, schedule(cfg, []*process{
		{name: "web1", web: true, spared: true}, {name: "web2", web: true},
		{name: "worker1", works: true, spared: true}, {name: "worker2", works: true},
	})
}

// One seed is one schedule, every kind comes up, and nobody who is spared is killed.
func TestSchedule(t *testing.T) {
	t.Parallel()
	args := []string{"--faults", "2000", "--redis-faults", "500", "--sql-faults", "200", "--seed", "7"}
	cfg, one := planned(t, args...)
	if _, again := planned(t, args...); !reflect.DeepEqual(one, again) {
		t.Error("one seed gave two schedules")
	}
	args[len(args)-1] = "8"
	if _, other := planned(t, args...); reflect.DeepEqual(one, other) {
		t.Error("two seeds gave one schedule")
	}
	total, seen := 0, map[string]bool{}
	for _, faults := range one {
		total += len(faults)
		for _, f := range faults {
			seen[f.kind] = true
			if strings.HasSuffix(f.victim, "1") && f.kind != "freeze" {
				t.Errorf("%s is to be hit by %s", f.victim, f.kind)
			}
			if f.after < 0 || f.holds <= 0 || f.n < 1 {
				t.Errorf("%+v", f)
			}
		}
	}
	if total != 2700 {
		t.Errorf("%d faults, want 2700", total)
	}
	for _, lane := range laneNames {
		for _, k := range drawable(cfg, lane) {
			if !seen[k.name] {
				t.Errorf("%s was never drawn", k.name)
			}
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--store", "mysql"}, {"--redis", "perhaps"}, {"--only", "kill,nonsense"}, {"surplus"}, {"--flows", "0"}, {"--faults", "many"},
		{"--webs", "0"}, {"--workers", "1"}, {"--watchers", "0"}, {"--store", "sqlite", "--redis", "no", "--outage", "5s"},
		{"--measure", "the weather"},
	} {
		if _, err := parse(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	for _, args := range [][]string{
		{"--store", "sqlite", "--redis", "no", "--faults", "40", "--seed", "3", "--only", "kill,freeze"},
		{"--seed", "4", "--webs", "3", "--workers", "12", "--watchers", "4", "--small", "--outage", "5s", "--duration", "1m"},
	} {
		cfg, err := parse(args, &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(strings.Fields(cfg.replay())[3:], &bytes.Buffer{})
		if err != nil || again != cfg {
			t.Errorf("%s gives %+v, %v, want %+v", cfg.replay(), again, err, cfg)
		}
	}
}

// judged is a run that only judges.
func judged(t *testing.T) *chaos {
	t.Helper()
	c, err := newChaos(config{folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.log.Close() })
	return c
}

// A watcher's list with a gap, a repetition, another order, another content or no end is found out; a sound one is not.
func TestWatchersAreJudged(t *testing.T) {
	t.Parallel()
	var sql []event.Event
	for i, typ := range []event.Type{event.Queued, event.Started, event.Batch, event.Batch, event.Completed} {
		sql = append(sql, event.Event{Seq: int64(i + 1), Type: typ, Data: event.Data{Chunks: int64(i)}})
	}
	changed := append([]event.Event{}, sql...)
	changed[3].Data.Chunks = 99
	for name, c := range map[string]struct {
		w     watch
		sound bool
	}{
		"all":           {watch{events: sql, ended: true}, true},
		"from 2 on":     {watch{events: sql[2:], after: 2, ended: true}, true},
		"only the end":  {watch{after: 5, ended: true}, true},
		"from now on":   {watch{after: client.FromNow, events: sql, ended: true}, true},
		"a gap":         {watch{events: append(append([]event.Event{}, sql[:2]...), sql[3:]...), ended: true}, false},
		"twice":         {watch{events: append(append([]event.Event{}, sql[:2]...), sql[1:]...), ended: true}, false},
		"another order": {watch{events: []event.Event{sql[1], sql[0], sql[2], sql[3], sql[4]}, ended: true}, false},
		"other content": {watch{events: changed, ended: true}, false},
		"no end":        {watch{events: sql[:4]}, false},
		"nothing":       {watch{ended: true}, false},
	} {
		chaos := judged(t)
		chaos.checkWatch(&ticket{op: client.Operation{ID: "op_1"}}, &c.w, sql)
		if sound := len(chaos.violations) == 0; sound != c.sound {
			t.Errorf("%s: sound is %v, want %v: %v", name, sound, c.sound, chaos.violations)
		}
	}
}

func TestCutLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if n, err := cutLog(dir, 5); n != 0 || err != nil {
		t.Errorf("without a log: %d, %v", n, err)
	}
	path := filepath.Join(dir, "appendonlydir", "appendonly.aof.1.incr.aof")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := cutLog(dir, 4); n != 4 || err != nil {
		t.Errorf("cut %d, %v, want 4", n, err)
	}
	if left, err := os.ReadFile(path); string(left) != "012345" {
		t.Errorf("left %q, %v", left, err)
	}
	const whole = "*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*1\r\n$4\r\nEXEC\r\n"
	if err := os.WriteFile(path, []byte(whole+whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := cutLog(dir, 5); n != int64(len(whole)) || err != nil {
		t.Errorf("cut %d in a transaction, %v, want all of it: %d", n, err, len(whole))
	}
	if left, err := os.ReadFile(path); string(left) != whole {
		t.Errorf("left %q, %v", left, err)
	}
}

// A watcher of everything that was told what SQL has not, of somebody else's, twice, out of order, with a gap or after the end is
// found out; one that was told all of it from a snapshot on is not.
func TestFeedsAreJudged(t *testing.T) {
	t.Parallel()
	all := map[string]kept{}
	for id, owner := range map[string]string{"a": "red", "b": "red", "c": "blue"} {
		k := kept{owner: owner}
		for i, typ := range []event.Type{event.Queued, event.Started, event.Batch, event.Completed} {
			e := event.Event{Seq: int64(i + 1), Type: typ, OperationID: id, Data: event.Data{Status: "processing", Chunks: int64(i)}}
			if typ.Terminal() {
				e.Data.Status = string(typ)
			}
			k.events = append(k.events, e)
		}
		all[id] = k
	}
	at := func(id string, seq int) event.Event { return all[id].events[seq-1] }
	snapshot := func(id string, seq int) event.Event {
		e := at(id, seq)
		e.Type, e.Seq, e.Data.Seq = event.Snapshot, 0, e.Seq
		return e
	}
	progress := event.Event{Type: event.Progress, OperationID: "a"}
	changed, state := at("a", 2), snapshot("a", 2)
	changed.Data.Worker, state.Data.Chunks = "another", 7
	type told []event.Event
	for name, c := range map[string]struct {
		wrong string
		conns []told
	}{
		"from the beginning":    {"", []told{{at("a", 1), at("b", 1), at("a", 2), at("a", 3), at("b", 2), at("a", 4)}}},
		"from a snapshot":       {"", []told{{snapshot("a", 2), progress, at("a", 3), at("a", 4)}}},
		"over two connections":  {"", []told{{at("a", 1), at("a", 2)}, {snapshot("a", 2), at("a", 3)}}},
		"anew":                  {"", []told{{snapshot("a", 1), snapshot("a", 3), at("a", 4)}}},
		"a gap":                 {"I8", []told{{at("a", 1), at("a", 3)}}},
		"a gap at first":        {"I8", []told{{at("a", 2)}}},
		"a gap over two":        {"I8", []told{{at("a", 1)}, {at("a", 2)}}},
		"twice":                 {"I8", []told{{at("a", 1), at("a", 1)}}},
		"another order":         {"I8", []told{{at("a", 1), at("a", 3), at("a", 2)}}},
		"after the end":         {"I8", []told{{snapshot("a", 3), at("a", 4), progress}}},
		"another content":       {"I8", []told{{at("a", 1), changed}}},
		"another state":         {"I8", []told{{state}}},
		"a snapshot of before":  {"I8", []told{{snapshot("a", 3), snapshot("a", 2)}}},
		"what will be":          {"I8", []told{{snapshot("a", 4), {Seq: 5, Type: event.Batch, OperationID: "a"}}}},
		"what nobody has":       {"I8", []told{{{Seq: 1, Type: event.Queued, OperationID: "d"}}}},
		"another owner's":       {"I11", []told{{at("c", 1)}}},
		"another owner's state": {"I11", []told{{snapshot("c", 1)}}},
		"what another one does": {"I11", []told{{{Type: event.Progress, OperationID: "c"}}}},
	} {
		chaos := judged(t)
		f := &feed{owner: "red", over: "sse", live: map[string]bool{}}
		durable := 0
		for _, told := range c.conns {
			f.begin()
			for _, e := range told {
				f.tell(e)
				if e.Type.Durable() {
					durable++
				}
			}
		}
		n, anew := chaos.checkFeed(f, all)
		switch {
		case c.wrong == "" && (len(chaos.violations) > 0 || n != durable || (anew == 1) != (name == "anew")):
			t.Errorf("%s: %d of %d, %d anew: %v", name, n, durable, anew, chaos.violations)
		case c.wrong != "" && (len(chaos.violations) == 0 || !strings.HasPrefix(chaos.violations[0], c.wrong+":")):
			t.Errorf("%s: %q, want one of %s", name, chaos.violations, c.wrong)
		}
		if name == "from the beginning" {
			if left := f.unseen(); !reflect.DeepEqual(left, []string{"b"}) {
				t.Errorf("the end is missing of %v, want b", left)
			}
		}
	}
}

// A kind that was tried and never bit is tried alone, and is a violation when it does not bite then.
func TestToothless(t *testing.T) {
	t.Parallel()
	for _, tried := range []int{toothless - 1, toothless} {
		c := judged(t)
		c.cfg.store, c.cfg.only = "postgres", "pg-slow"
		var n int
		misses := func(fault) func(context.Context, fault) outcome {
			return func(context.Context, fault) outcome { n++; return outcome{} }
		}
		for range tried {
			c.count("pg-slow", outcome{})
		}
		c.insist(t.Context(), misses)
		if enough := tried == toothless; enough != (n == insisted) || enough != (len(c.violations) == 1) {
			t.Errorf("tried %d times: tried %d times more, then %q", tried, n, c.violations)
		}
	}
	c := judged(t)
	c.cfg.store, c.cfg.only = "postgres", "pg-slow"
	n := 0
	bites := func(fault) func(context.Context, fault) outcome {
		return func(context.Context, fault) outcome { n++; return outcome{bitten: n == 3} }
	}
	for range toothless {
		c.count("pg-slow", outcome{})
	}
	if c.insist(t.Context(), bites); n != 3 || len(c.violations) != 0 {
		t.Errorf("one that bit at the third time was tried %d times: %q", n, c.violations)
	}
}
