package redisconn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"chunkstream/secret"
)

func TestCommands(t *testing.T) {
	s := redis(t)
	c := open(t, Config{URL: s.url()}).Commands
	up(t, c)
	ctx := t.Context()
	if v, found, err := c.Get(ctx, "a"); v != "" || found || err != nil {
		t.Errorf("Get of nothing: got %q, %v, %v", v, found, err)
	}
	if ok := must[bool](t)(c.Set(ctx, "a", "1", time.Minute)); !ok {
		t.Error("Set: got false")
	}
	if v, found, err := c.Get(ctx, "a"); v != "1" || !found || err != nil {
		t.Errorf("Get: got %q, %v, %v", v, found, err)
	}
	if must[bool](t)(c.SetNX(ctx, "a", "2", 0)) || !must[bool](t)(c.SetNX(ctx, "b", "2", 0)) {
		t.Error("SetNX wrote over a key, or not at all")
	}
	if ttl, found, err := c.TTL(ctx, "a"); ttl <= 0 || ttl > time.Minute || !found || err != nil {
		t.Errorf("TTL: got %v, %v, %v", ttl, found, err)
	}
	if ttl, found, err := c.TTL(ctx, "b"); ttl != 0 || !found || err != nil {
		t.Errorf("TTL of a key without: got %v, %v, %v", ttl, found, err)
	}
	if _, found, err := c.TTL(ctx, "none"); found || err != nil {
		t.Errorf("TTL of nothing: got %v, %v", found, err)
	}
	if n := must[int64](t)(c.Exists(ctx, "a", "b", "none")); n != 2 {
		t.Errorf("Exists: got %d, want 2", n)
	}
	if !must[bool](t)(c.Expire(ctx, "b", time.Minute)) || must[bool](t)(c.Expire(ctx, "none", time.Minute)) {
		t.Error("Expire: the wrong answer")
	}
	if n := must[int64](t)(c.Del(ctx, "a", "b", "none")); n != 2 {
		t.Errorf("Del: got %d, want 2", n)
	}
	if must[int64](t)(c.Incr(ctx, "n")) != 1 || must[int64](t)(c.Incr(ctx, "n")) != 2 {
		t.Error("Incr does not count")
	}
	want := map[string]string{"x": "1", "y": ""}
	if n := must[int64](t)(c.HSet(ctx, "h", want, time.Minute)); n != 2 {
		t.Errorf("HSet: got %d, want 2", n)
	}
	if got := must[map[string]string](t)(c.HGetAll(ctx, "h")); !maps.Equal(got, want) {
		t.Errorf("HGetAll: got %v, want %v", got, want)
	}
	if ttl, _, _ := c.TTL(ctx, "h"); ttl == 0 {
		t.Error("HSet left a hash without a time to live")
	}
	if got := must[map[string]string](t)(c.HGetAll(ctx, "none")); len(got) != 0 {
		t.Errorf("HGetAll of nothing: got %v", got)
	}
	for _, id := range []string{"1-0", "2-0"} {
		if got := must[string](t)(c.XAdd(ctx, "s", id, 10, map[string]string{"k": id})); got != id {
			t.Errorf("XAdd: got %s, want %s", got, id)
		}
	}
	_, err := c.XAdd(ctx, "s", "2-0", 10, map[string]string{"k": "again"})
	wants(t, "XAdd of an id twice", err, ClassRefused, true)
	all := must[[]Entry](t)(c.XRange(ctx, "s", "(1-0", "+", 10))
	if len(all) != 1 || all[0].ID != "2-0" || all[0].Fields["k"] != "2-0" {
		t.Errorf("XRange: got %v", all)
	}
	if n := must[int64](t)(c.XLen(ctx, "s")); n != 2 {
		t.Errorf("XLen: got %d, want 2", n)
	}
	if n := must[int64](t)(c.Publish(ctx, "channel", "m")); n != 0 {
		t.Errorf("Publish to nobody: got %d", n)
	}
	if now := must[time.Time](t)(c.Time(ctx)); time.Since(now).Abs() > time.Minute {
		t.Errorf("Time: got %v", now)
	}
	if info := must[string](t)(c.Info(ctx, "server")); !strings.Contains(info, "redis_version:") {
		t.Errorf("Info: got %q", info)
	}
	_, _, err = c.Get(ctx, "h")
	wants(t, "Get of a hash", err, ClassWrongType, true)
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = c.Incr(canceled, "n")
	if wants(t, "a cancelled call", err, ClassCanceled, true); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: got %v", err)
	}
	st := c.Stats()
	if !st.Up || st.Open < 1 || st.Open > DefaultConnections || st.Calls < 20 || st.Errors[ClassWrongType] != 1 {
		t.Errorf("Stats: got %+v", st)
	}
}

// TestCommandsNeverBlock: no method of Commands reaches a command that Redis calls blocking. The list is there so that
// a new method is looked at.
func TestCommandsNeverBlock(t *testing.T) {
	s := redis(t)
	c := open(t, Config{URL: s.url()}).Commands
	up(t, c)
	s.do("CONFIG", "RESETSTAT")
	ctx, script := t.Context(), NewScript("-- KEYS none\n-- ARGV none\n-- returns 1\nreturn 1")
	each := map[string]func() error{
		"Close": nil, "Stats": nil, "BigStats": nil, // no command
		"Del":     func() error { _, err := c.Del(ctx, "k"); return err },
		"DryRun":  func() error { _, err := c.DryRun(ctx, "default", "GET", "k"); return err },
		"Exists":  func() error { _, err := c.Exists(ctx, "k"); return err },
		"Expire":  func() error { _, err := c.Expire(ctx, "k", 1); return err },
		"Get":     func() error { _, _, err := c.Get(ctx, "k"); return err },
		"GetBig":  func() error { _, _, err := c.GetBig(ctx, "k"); return err },
		"HGetAll": func() error { _, err := c.HGetAll(ctx, "k"); return err },
		"HSet":    func() error { _, err := c.HSet(ctx, "h", map[string]string{"a": "b"}, time.Hour); return err },
		"Incr":    func() error { _, err := c.Incr(ctx, "n"); return err },
		"Info":    func() error { _, err := c.Info(ctx, "server"); return err },
		"Ping":    func() error { _, err := c.Ping(ctx); return err },
		"Publish": func() error { _, err := c.Publish(ctx, "k", "m"); return err },
		"Run":     func() error { _, err := c.Run(ctx, script, nil); return err },
		"Set":     func() error { _, err := c.Set(ctx, "s", "v", 0); return err },
		"SetNX":   func() error { _, err := c.SetNX(ctx, "s", "v", 0); return err },
		"TTL":     func() error { _, _, err := c.TTL(ctx, "k"); return err },
		"Time":    func() error { _, err := c.Time(ctx); return err },
		"Transaction": func() error {
			_, err := c.Transaction(ctx, []string{"t"}, func(ctx context.Context, tx *Tx) error {
				_, _, err := tx.Get(ctx, "t")
				_, err2 := tx.HGetAll(ctx, "h")
				_, err3 := tx.Exists(ctx, "t")
				tx.Set("t", "v", 0)
				tx.Del("t")
				tx.Incr("t")
				tx.Expire("t", time.Hour)
				tx.HSet("h", map[string]string{"a": "b"}, time.Hour)
				tx.Publish("k", "m")
				return errors.Join(err, err2, err3)
			})
			return err
		},
		"WhoAmI": func() error { _, err := c.WhoAmI(ctx); return err },
		"XAdd":   func() error { _, err := c.XAdd(ctx, "x", "", 5, map[string]string{"a": "b"}); return err },
		"XLen":   func() error { _, err := c.XLen(ctx, "x"); return err },
		"XRange": func() error { _, err := c.XRange(ctx, "x", "-", "+", 5); return err },
	}
	for m := range reflect.TypeFor[*Commands]().Methods() {
		if f, ok := each[m.Name]; !ok {
			t.Errorf("Commands.%s is not in the list", m.Name)
		} else if f != nil {
			if err := f(); err != nil {
				t.Errorf("%s: %v", m.Name, err)
			}
		}
	}
	n := 0
	for _, line := range splitLines(s.do("INFO", "commandstats")) {
		name, found := strings.CutPrefix(line, "cmdstat_")
		if name, _, _ = strings.Cut(name, ":"); !found || strings.Contains(name, "|") {
			continue
		}
		n++
		if slices.Contains(splitLines(s.do("COMMAND", "INFO", name)), "blocking") {
			t.Errorf("Commands reaches %s, which blocks", name)
		}
	}
	if n < 20 {
		t.Errorf("%d commands looked at", n)
	}
}

func TestBigValuesHaveTheirOwnConnection(t *testing.T) {
	s := redis(t)
	c := open(t, Config{URL: s.url()}).Commands
	up(t, c)
	value := strings.Repeat("x", 5<<20)
	must[bool](t)(c.Set(t.Context(), "big", value, 0))
	if got, found, err := c.GetBig(t.Context(), "big"); got != value || !found || err != nil {
		t.Errorf("GetBig: got %d bytes, %v, %v", len(got), found, err)
	}
	if n := s.named(); n["chunkstream-big"] != 1 {
		t.Errorf("connections: got %v, want one named chunkstream-big", n)
	}
	if n := c.BigStats().Calls; n != 2 {
		t.Errorf("calls over the connection for big values: got %d, want 2", n)
	}
}

func TestScripts(t *testing.T) {
	s := redis(t)
	c := open(t, Config{URL: s.url()}).Commands
	up(t, c)
	script := NewScript("-- KEYS[1] the key\n-- ARGV[1] the value\n-- returns what it wrote, and nil\n" +
		"redis.call('SET', KEYS[1], ARGV[1])\nreturn {ARGV[1], 7, false}\n")
	for range 2 {
		reply, err := c.Run(t.Context(), script, []string{"k"}, "v")
		if err != nil {
			t.Fatal(err)
		}
		list := must[[]Reply](t)(reply.List())
		if len(list) != 3 || must[string](t)(list[0].Text()) != "v" || must[int64](t)(list[1].Int()) != 7 ||
			!list[2].IsNil() {
			t.Errorf("Run: got %v", list)
		}
		if _, err := reply.Int(); err == nil {
			t.Error("a list read as a number: no error")
		}
		s.do("SCRIPT", "FLUSH") // the second round finds the script gone
	}
	if n := c.Stats().Errors; len(n) != 0 {
		t.Errorf("a script that had to be sent in full counts as an error: %v", n)
	}
	_, err := c.Run(t.Context(), script, nil)
	wants(t, "too few keys", err, ClassRefused, true)
	half := NewScript("-- KEYS[1] a\n-- ARGV none\n-- returns nothing\n" +
		"redis.call('SET', KEYS[1], '1')\nreturn redis.call('LPUSH', KEYS[1], '1')\n")
	_, err = c.Run(t.Context(), half, []string{"k"})
	wants(t, "a script that fails half way", err, ClassWrongType, false)
}

func TestScriptHeader(t *testing.T) {
	const good = "-- KEYS[1] a\n-- ARGV[1..] b\n-- returns c\n"
	for source, problem := range map[string]string{
		good + "return redis.call('GET', KEYS[1])":           "",
		"-- KEYS none\n-- ARGV none\n-- returns 1\nreturn 1": "",
		good:                                   "without code",
		"return 1":                             "KEYS",
		"-- KEYS[1] a\n-- returns c\nreturn 1": "ARGV",
		"-- KEYS[1] a\n-- ARGV none\nreturn 1": "returns",
		good + "return KEYS[2]":                "KEYS[2]",
		good + "return ARGV[ 3 ]":              "ARGV[3]",
		"return 1\n" + good:                    "KEYS",
	} {
		_, err := ParseScript(source)
		if got := err != nil && strings.Contains(err.Error(), problem); got != (problem != "") {
			t.Errorf("%q: got %v, want a complaint about %q", source, err, problem)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("NewScript took a script without a header")
		}
	}()
	NewScript("return 1")
}

func TestTransaction(t *testing.T) {
	s := redis(t)
	c := open(t, Config{URL: s.url()}).Commands
	up(t, c)
	ctx := t.Context()
	must[bool](t)(c.Set(ctx, "n", "1", 0))
	tries := 0
	replies, err := c.Transaction(ctx, []string{"n"}, func(ctx context.Context, tx *Tx) error {
		tries++
		v, found, err := tx.Get(ctx, "n")
		if err != nil || !found {
			return errors.Join(err, errors.New("nothing found"))
		}
		if tries == 1 { // somebody else is in between
			must[int64](t)(c.Incr(ctx, "n"))
		}
		tx.Set("m", v, time.Minute)
		tx.Incr("n")
		return nil
	})
	if err != nil || len(replies) != 2 || tries != 2 {
		t.Fatalf("Transaction: got %v, %v after %d tries, want 2", replies, err, tries)
	}
	if n := must[int64](t)(replies[1].Int()); n != 3 {
		t.Errorf("Incr in a transaction: got %d, want 3", n)
	}
	if v, _, _ := c.Get(ctx, "m"); v != "2" {
		t.Errorf("got %q, want what was read in the attempt that counted, 2", v)
	}

	tries = 0
	_, err = c.Transaction(ctx, []string{"n"}, func(ctx context.Context, tx *Tx) error {
		tries++
		must[int64](t)(c.Incr(ctx, "n"))
		tx.Del("m")
		return nil
	})
	if wants(t, "a key that keeps changing", err, ClassConflict, true); tries != WatchAttempts {
		t.Errorf("got %d tries, want %d", tries, WatchAttempts)
	}
	own := errors.New("own")
	_, err = c.Transaction(ctx, []string{"n"}, func(context.Context, *Tx) error { return own })
	if !errors.Is(err, own) {
		t.Errorf("the function's error: got %v", err)
	}
	_, err = c.Transaction(ctx, []string{"n"}, func(_ context.Context, tx *Tx) error {
		tx.Set("m", "kept", 0)
		tx.HSet("m", map[string]string{"a": "b"}, time.Minute)
		return nil
	})
	wants(t, "a wrong type among the commands", err, ClassWrongType, false)
	if n := s.named()["chunkstream-commands"]; n > DefaultConnections+DefaultTransactionConnections {
		t.Errorf("%d connections", n)
	}
}

// TestDryRun: the refusal names what is missing; nothing is run; a user without ACL is told that it may not ask.
func TestDryRun(t *testing.T) {
	s := redis(t)
	s.do("ACL", "SETUSER", "app", "on", ">pw", "~mine:*", "&news:*", "+get", "+publish", "+ping")
	c := open(t, Config{URL: s.url()}).Commands
	up(t, c)
	if who := must[string](t)(c.WhoAmI(t.Context())); who != "default" {
		t.Errorf("WhoAmI: got %q", who)
	}
	for _, d := range []struct{ words, want string }{
		{"GET mine:1", ""}, {"GET yours", "key"}, {"SET mine:1 v", "command"}, {"PUBLISH news:1 m", ""}, {"PUBLISH x m", "channel"},
	} {
		words := strings.Fields(d.words)
		got, err := c.DryRun(t.Context(), "app", words[0], words[1:]...)
		if err != nil || (got == "") != (d.want == "") || !strings.Contains(got, d.want) {
			t.Errorf("%s: got %q, %v, want %q in it", d.words, got, err, d.want)
		}
	}
	if s.do("EXISTS", "mine:1") != "0" {
		t.Error("it was run")
	}
	app := open(t, Config{URL: s.url(), Username: "app", Password: secret.New("pw")}).Commands
	eventually(t, 5*time.Second, "the right to ask is missing", func() error {
		_, err := app.DryRun(t.Context(), "app", "GET", "mine:1")
		if class, _ := Classify(err); class != ClassAuth {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}
