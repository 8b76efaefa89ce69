package live_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/redisconn"
	"chunkstream/servertest"
)

// TestCalls: each call to Redis fails, before Redis has it and after it was carried out, once and for ever. Every watcher in
// either process sees every event once and in order, while it fails; Redis has all of them once it is whole, and no key
// for ever.
func TestCalls(t *testing.T) {
	t.Parallel()
	digest := func(script string) string {
		return reflect.ValueOf(*live.Scripts[script]).FieldByName("digest").String()
	}
	for _, call := range []struct {
		site, mark string // the mark is in its requests alone
		watching   bool   // it is of the process that watches
	}{
		{"writePart: Commands.Run", digest("writeStream"), false},
		{"writePart: Commands.Run #2", digest("writeHash"), false},
		{"publish: Commands.Publish", "\r\nPUBLISH\r\n", false},
		{"Forget: Commands.Expire", "\r\nPEXPIRE\r\n", false},
		{"follow: Feed.Subscribe", "\r\nSUBSCRIBE\r\n", true},
		{"follow: Feed.Unsubscribe", "\r\nUNSUBSCRIBE\r\n", true},
		{"run: Feed.Run", "chunkstream-feed", true},
	} {
		for _, after := range []bool{false, true} {
			for _, ever := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, after %v, for ever %v", call.site, after, ever), func(t *testing.T) {
					t.Parallel()
					failLive(t, call.site, call.mark, call.watching, after, ever)
				})
			}
		}
	}
}

func failLive(t *testing.T, site, mark string, watching, after, ever bool) {
	server := servertest.StartRedis(t)
	for _, s := range live.Scripts { // what is carried out is the script, not the answer that it is not known
		answer, err := server.Do("SCRIPT", "LOAD", reflect.ValueOf(*s).FieldByName("source").String())
		if err != nil || strings.HasPrefix(answer, "-") {
			t.Fatal(answer, err)
		}
	}
	writes, reads := servertest.StartProxy(t, server.Address), servertest.StartProxy(t, server.Address)
	j := newJournal()
	often := live.Config{Poll: 200 * time.Millisecond}
	a, busA := redisRig(t, "redis://"+writes.Address, j, often)
	b, busB := redisRig(t, "redis://"+reads.Address, j, often)
	connected(t, busA, busB)
	proxy := writes
	if watching {
		proxy = reads
	}
	fail, n := proxy.DropRequest, 1
	if after {
		fail = proxy.LoseAnswer
	}
	if ever {
		n = 1 << 30
	}
	trapped := func() {
		t.Helper()
		eventually(t, site+" is sent and fails", func() bool { return proxy.Counts().Trapped > 0 })
	}
	direct := open(t, server.URL()).Commands

	a.publish("ann", "op_0", event.Queued)
	before := b.watch("ws", "op_0", "")
	before.next()
	written(t, direct, "op_0", 1)
	fail(mark, n)
	switch site {
	case "run: Feed.Run":
		proxy.Cut()
		trapped()
	case "follow: Feed.Unsubscribe":
		before.drop()
		trapped()
	}
	a.publish("ann", "op_1", event.Queued)
	own, other := a.watch("ws", "op_1", ""), b.watch("sse", "op_1", "")
	opened := map[string]int64{"own": own.next().Data.Seq, "other": other.next().Data.Seq}
	a.publish("ann", "op_1", event.Started)
	if site == "publish: Commands.Publish" {
		eventually(t, site+" is sent and fails", func() bool {
			a.progress("ann", "op_1", 1, 10)
			return proxy.Counts().Trapped > 0
		})
	}
	for range 10 {
		a.publish("ann", "op_1", event.Batch)
	}
	if site != "Forget: Commands.Expire" {
		trapped()
	}
	a.publish("ann", "op_1", event.Completed)
	const last = 13
	for name, c := range map[string]*client{"own": own, "other": other} {
		got, end := c.rest()
		if end.code != int(live.CloseDone) && end.code != 0 {
			t.Errorf("the %s process's watcher ended with %+v", name, end)
		}
		wantSeqs(t, "the watcher of the "+name+" process", got, opened[name]+1, last)
	}
	if site == "Forget: Commands.Expire" {
		written(t, direct, "op_1", last)
		err := busA.Forget(t.Context(), []string{"op_1"})
		if class, safe := redisconn.Classify(err); class != redisconn.ClassUnavailable || !safe {
			t.Errorf("Forget: %v", err)
		}
		trapped()
	}
	fail("", 0)
	switch site {
	case "Forget: Commands.Expire":
		eventually(t, "forgotten, when it is tried again", func() bool { return busA.Forget(t.Context(), []string{"op_1"}) == nil })
		eventually(t, "its keys are gone", func() bool {
			left, err := direct.Exists(t.Context(), live.OperationKey("op_1"), live.StreamKey("op_1"))
			return err == nil && left == 0
		})
	default:
		written(t, direct, "op_1", last)
		entries, err := direct.XRange(t.Context(), live.StreamKey("op_1"), "-", "+", 100)
		if err != nil || len(entries) != last {
			t.Errorf("%d entries are in the stream, %v, want %d", len(entries), err, last)
		}
	}
	lifetimes(t, direct, server)
	connected(t, busA, busB)
	if site != "follow: Feed.Unsubscribe" {
		before.drop()
	}
	eventually(t, "nothing is listened to that nobody watches", func() bool {
		channels, err := server.Do("PUBSUB", "CHANNELS")
		return err == nil && channels == "*0"
	})
}
