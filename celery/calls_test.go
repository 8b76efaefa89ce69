package celery_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"chunkstream/celery"
	"chunkstream/redisconn"
	"chunkstream/secret"
	"chunkstream/servertest"
)

// TestCalls: each call to Redis fails, before Redis has it and after it was carried out, once and for ever. No task is lost,
// each is done as one operation, its producer gets its result, and no record of it is left, once Redis is whole.
func TestCalls(t *testing.T) {
	t.Parallel()
	sites := []struct{ site, script string }{
		{"take: Commands.Run", "pop"}, {"take: Commands.Run, putting off", "putOff"}, {"tell: Commands.Run", "tell"},
		{"renew: Commands.Run", "renew"}, {"putBack: Commands.Run", "restore"}, {"Run: Commands.Run", "giveBack"},
	}
	for _, after := range []bool{false, true} {
		for _, ever := range []bool{false, true} {
			t.Run(fmt.Sprintf("after %v, for ever %v", after, ever), func(t *testing.T) {
				t.Parallel()
				r := servertest.StartRedis(t)
				p := startProducer(t, r)
				for _, s := range celery.Scripts { // what is carried out is the script, not the answer that it is not known
					if answer := do(t, r, "SCRIPT", "LOAD", reflect.ValueOf(*s).FieldByName("source").String()); strings.HasPrefix(answer, "-") {
						t.Fatal(answer)
					}
				}
				for _, s := range sites {
					failCelery(t, r, p, s.site, s.script, after, ever)
				}
				for _, key := range []string{"unacked", "unacked_index", "celery"} {
					if answer := do(t, r, "EXISTS", key); answer != ":0" {
						t.Errorf("%s is left", key)
					}
				}
			})
		}
	}
}

func failCelery(t *testing.T, r *servertest.Redis, p *producer, site, script string, after, ever bool) {
	t.Helper()
	w := newTruth()
	w.set(celery.State{Started: true}, nil)
	proxy := servertest.StartProxy(t, r.Address)
	door := func() (stop func()) {
		conns, err := redisconn.Open(t.Context(), redisconn.Config{URL: secret.New("redis://" + proxy.Address)})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "connected", func() bool { _, err := conns.Commands.Ping(t.Context()); return err == nil })
		d, err := celery.New(celery.Config{Commands: conns.Commands, Submit: w.submit, Look: w.look, Visibility: visibility})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("%s: Run: %v", site, err)
			}
			_ = conns.Close()
		}
	}
	fail, n := proxy.DropRequest, 1
	if after {
		fail = proxy.LoseAnswer
	}
	if ever {
		n = 1 << 30
	}
	stop := door()
	name := "t-" + script
	task := call(name, "doc_1")
	if script == "putOff" {
		task["eta_in"] = 1.5
	}
	if script == "giveBack" {
		p.send(task)
		eventually(t, site+": it is in hand", func() bool { return len(w.ids()) == 1 })
	}
	fail(reflect.ValueOf(*celery.Scripts[script]).FieldByName("digest").String(), n)
	if script == "giveBack" {
		stop()
	} else {
		p.send(task)
	}
	eventually(t, site+": it fails", func() bool { return proxy.Counts().Trapped > 0 })
	fail("", 0)
	if script == "giveBack" {
		stop = door() // another process, or this one again
	}
	eventually(t, site+": it is an operation", func() bool { return len(w.ids()) == 1 })
	w.set(celery.State{Ended: true, Chunks: 3, Bytes: 23}, nil)
	if got := p.get(name); got.State != "SUCCESS" || got.Result.Chunks != 3 {
		t.Errorf("%s: the producer got %+v", site, got)
	}
	eventually(t, site+": no record is left", func() bool {
		return do(t, r, "HLEN", "unacked") == ":0" && do(t, r, "ZCARD", "unacked_index") == ":0" && do(t, r, "LLEN", "celery") == ":0"
	})
	stop()
	if ids := w.ids(); len(ids) != 1 {
		t.Errorf("%s: operations of %v", site, ids)
	}
	if ttl := do(t, r, "TTL", "celery-task-meta-"+name); strings.HasPrefix(ttl, ":-") {
		t.Errorf("%s: the result's time to live is %s", site, ttl)
	}
}
