package live_test

import (
	"bufio"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/live"
)

// BenchmarkFanOut measures one event from Publish until the last of n sockets has read it.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b, live.Config{SlowAfter: time.Minute, WriteTimeout: time.Minute}, nil)
			r.publish("ann", "op_1", event.Queued)
			var got sync.WaitGroup
			var readers sync.WaitGroup
			var conns []net.Conn
			for range n {
				conn, err := r.dial()
				if err != nil {
					b.Fatal(err)
				}
				handshake(b, conn, "/op/op_1/ws?since=1")
				conns = append(conns, conn)
				readers.Go(func() {
					for in := bufio.NewReaderSize(conn, 1024); ; got.Done() {
						if opcode, _, err := readFrame(in); err != nil || opcode != 1 {
							return
						}
					}
				})
			}
			r.waitStats("open", func(s live.Stats) bool { return s.Sockets == int64(n) })
			for b.Loop() {
				got.Add(n)
				r.publish("ann", "op_1", event.Batch)
				got.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/socket")
			for _, c := range conns {
				_ = c.Close()
			}
			readers.Wait()
			r.stop()
		})
	}
}

// BenchmarkIdleSocket reports what an open and idle WebSocket costs this process in heap and stacks. The client's end
// is in it as well: a net.Conn, without buffers and without a goroutine.
func BenchmarkIdleSocket(b *testing.B) {
	const n = 4000
	for b.Loop() {
		r := newRig(b, live.Config{}, nil)
		r.publish("ann", "op_1", event.Queued)
		before := memory()
		conns := make([]net.Conn, n)
		var err error
		for i := range conns {
			if conns[i], err = r.dial(); err != nil {
				b.Fatal(err)
			}
			handshake(b, conns[i], "/op/op_1/ws")
		}
		r.waitStats("opened", func(s live.Stats) bool { return s.Sockets == n && s.Delivered == n })
		after := memory()
		b.ReportMetric(float64(after-before)/n, "B/socket")
		for _, c := range conns {
			_ = c.Close()
		}
		r.stop()
	}
}

func memory() uint64 {
	var m runtime.MemStats
	for range 3 { // the first collections free pools and stacks
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
