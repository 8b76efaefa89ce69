package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"chunkstream/client"
	"chunkstream/event"
	"chunkstream/secret"
)

// BenchCmd measures.
type BenchCmd struct {
	Chunk   BenchChunkCmd   `cmd:"" help:"Cut texts with every strategy: speed on one core, chunks, sizes."`
	Service BenchServiceCmd `cmd:"" help:"Load a server and measure it: throughput, latency, memory, cold start."`
	Sockets BenchSocketsCmd `cmd:"" help:"Open many WebSockets on one server: memory a socket, and how long a broadcast takes."`
}

// BenchServiceCmd submits documents as fast as its clients can, or at a rate, learns by socket when each is completed,
// and checks at the end that all were and that chunks are slices of what was sent.
type BenchServiceCmd struct {
	Clients   int           `default:"16" help:"How many submit at once, each waiting for its end."`
	Size      byteSize      `default:"4KB" placeholder:"SIZE" help:"Of each document: 4KB (the default), 100KB, 1MiB."`
	Duration  time.Duration `default:"10s" help:"How long to measure, after a second of warm-up."`
	Rate      float64       `placeholder:"N" help:"Submit N documents a second, and measure from when each was due."`
	Watch     string        `default:"all" enum:"all,each" help:"Hear of ends by one socket for all, or by one for each."`
	ChunkSize int           `default:"1000" help:"Characters in a chunk at most."`
	Server    string        `placeholder:"URL" help:"Measure this server instead of starting one."`
	APIKey    secret.Text   `name:"api-key" env:"CHUNKSTREAM_API_KEY" hidden:"" help:"Use the environment variable."`
	Data      string        `env:"-" placeholder:"FOLDER" help:"For the started server's data; default: a temporary one."`
	Database  secret.Text   `env:"-" placeholder:"URL" help:"Postgres for the started server."`
	Redis     secret.Text   `env:"-" placeholder:"URL" help:"Redis for the started server."`
	JSON      bool          `name:"json" help:"Print one JSON object instead of a table."`
	Seed      uint64        `default:"1" help:"Of the generated text."`
}

// Run measures and prints. The error says what did not hold: a document that did not complete, or a chunk that is not
// the text that was sent.
func (b *BenchServiceCmd) Run(ctx context.Context) error {
	if b.Clients < 1 || b.Clients > 4096 || b.Size < 64 || b.Size > 64<<20 || b.Duration <= 0 || b.Rate < 0 {
		return &exitError{exitUsage, errors.New("bench: want 1 to 4096 clients, 64 bytes to 64 MiB, a duration, a rate from 0"),
			"chunkstream bench service --clients 16 --size 4KB --duration 10s"}
	}
	result := BenchResult{
		Clients: b.Clients, Size: int64(b.Size), Rate: b.Rate, Watch: b.Watch, Cores: runtime.NumCPU(),
		Go: runtime.Version(), Version: 1,
	}
	address := b.Server
	var child *benchChild
	if address == "" {
		var err error
		if child, err = startChild(ctx, b.Data, b.Database.Reveal(), b.Redis.Reveal()); err != nil {
			return err
		}
		defer child.kill()
		address = child.address
	}
	c, err := client.New(address, client.Options{APIKey: b.APIKey.Reveal()})
	if err != nil {
		return err
	}
	if child != nil {
		if result.ColdStart, result.IdleRSS, err = child.begin(ctx, c); err != nil {
			return fmt.Errorf("bench: start a server: %w\n%s", err, child.log())
		}
	}
	if child != nil && b.Database.Reveal() == "" {
		if result.Disk, err = diskSync(child.data); err != nil {
			return fmt.Errorf("bench: sync a file: %w", err)
		}
	}
	l := &load{BenchServiceCmd: b, client: c, address: address, text: prose(int(b.Size), b.Seed)}
	before, err := child.redisCommands(ctx)
	if err != nil {
		return err
	}
	if err := l.run(ctx); err != nil {
		if child != nil {
			err = fmt.Errorf("%w\n%s", err, child.log())
		}
		return err
	}
	l.report(&result)
	after, err := child.redisCommands(ctx)
	if err != nil {
		return err
	}
	result.Redis = redisSpread(before, after)
	if child != nil && b.Database.Reveal() == "" && b.Rate > 0 {
		if result.Bare, err = b.bare(ctx, child.data, l.text); err != nil {
			return fmt.Errorf("bench: a bare server: %w", err)
		}
	}
	if child != nil {
		result.PeakRSS = child.status("VmHWM")
		if err := child.stop(); err != nil {
			return err
		}
	}
	if err := result.print(os.Stdout, b.JSON); err != nil {
		return err
	}
	if result.Failed > 0 {
		return fmt.Errorf("bench: %d of %d operations did not complete", result.Failed, result.Operations)
	}
	return nil
}

// load is one run: what is sent, and what was seen.
type load struct {
	*BenchServiceCmd
	client  *client.Client
	address string
	text    []byte
	salt    atomic.Int64

	begin, from, until time.Time    // what is submitted between the last two is measured
	handed             atomic.Int64 // with a rate: how many documents were taken to be sent

	mu     sync.Mutex
	ends   map[string]chan end // those that were answered and have not ended
	early  map[string]end      // those that ended before they were answered
	stream error               // why the stream of all ended

	samples []sample
	late    []time.Duration // with a rate: how long after it was due a document was sent
	events  []time.Duration // from recorded to heard
	checked int             // operations whose chunks were compared with what was sent
}

// end is how an operation ended, and when this was heard.
type end struct {
	status string
	at     time.Time
}

type sample struct {
	id                string
	salt              int64
	submitted, passed time.Duration // from the start until answered, and until heard of as ended
	status            string
	ended             time.Time
}

func (l *load) run(ctx context.Context) error {
	l.ends, l.early = map[string]chan end{}, map[string]end{}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watcher sync.WaitGroup
	if l.Watch == "all" {
		watcher.Go(func() { l.watchAll(ctx) })
		if err := l.prime(ctx); err != nil {
			cancel()
			watcher.Wait()
			return err
		}
	}
	const warm = time.Second
	l.begin = time.Now()
	l.from = l.begin.Add(warm)
	l.until = l.from.Add(l.Duration)
	g, loading := errgroup.WithContext(ctx)
	for range l.Clients {
		g.Go(func() error { return l.submitter(loading) })
	}
	err := g.Wait()
	if err == nil {
		err = l.check(ctx)
	}
	cancel()
	watcher.Wait()
	return err
}

// prime submits until it hears of an end: the socket for all is open then.
func (l *load) prime(ctx context.Context) error {
	for range 50 {
		try, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		_, err := l.submit(try, l.client, []byte("Is anybody listening to number 000000000000?"), time.Now())
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
	return errors.New("bench: the socket for all operations tells nothing")
}

// turn waits until the next document that nobody has taken is due, and gives that moment: when there are no clients free
// then, it is later. It gives false when the time is over.
func (l *load) turn(ctx context.Context) (due time.Time, _ bool, _ error) {
	if l.Rate == 0 {
		now := time.Now()
		return now, !now.After(l.until), nil
	}
	due = l.begin.Add(time.Duration(float64(l.handed.Add(1)-1) / l.Rate * float64(time.Second)))
	if due.After(l.until) {
		return due, false, nil
	}
	if wait := time.Until(due) - timerSlack; wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return due, false, ctx.Err()
		case <-timer.C:
		}
	}
	sleepUntil(due)
	if behind := time.Since(due); behind > patience {
		return due, false, fmt.Errorf("bench: the server is %v behind the rate; lower it", behind.Round(time.Second))
	}
	return due, true, nil
}

func (l *load) submitter(ctx context.Context) error {
	wire := &wire{}
	defer wire.close()
	c, err := client.New(l.address, client.Options{APIKey: l.APIKey.Reveal(), HTTP: &http.Client{Transport: wire}})
	if err != nil {
		return err
	}
	body := slices.Clone(l.text)
	var mine []sample
	var late []time.Duration
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.samples, l.late = append(l.samples, mine...), append(l.late, late...)
	}()
	for {
		start, ok, err := l.turn(ctx)
		if !ok {
			return err
		}
		taken := time.Since(start)
		one, err := l.submit(ctx, c, body, start)
		if err != nil {
			return err
		}
		if !start.Before(l.from) {
			mine, late = append(mine, one), append(late, taken)
		}
	}
}

// submit sends one document and waits until its end is heard of.
func (l *load) submit(ctx context.Context, c *client.Client, body []byte, start time.Time) (sample, error) {
	one := sample{salt: l.salt.Add(1)}
	season(body, one.salt)
	op, err := c.Submit(ctx, client.Submission{
		Text: bytes.NewReader(body), Settings: url.Values{"chunk_size": {strconv.Itoa(l.ChunkSize)}},
	})
	if err != nil {
		return one, fmt.Errorf("bench: submit: %w", err)
	}
	one.id, one.submitted = op.ID, time.Since(start)
	var how end
	if l.Watch == "each" {
		how, err = l.watchOne(ctx, op.ID)
	} else {
		how, err = l.await(ctx, op.ID)
	}
	one.status, one.passed, one.ended = how.status, how.at.Sub(start), how.at
	return one, err
}

// patience is how long one operation may take before the run is given up.
const patience = 2 * time.Minute

func (l *load) await(ctx context.Context, id string) (end, error) {
	l.mu.Lock()
	if how, ok := l.early[id]; ok {
		delete(l.early, id)
		l.mu.Unlock()
		return how, nil
	}
	heard := make(chan end, 1)
	l.ends[id] = heard
	err := l.stream
	l.mu.Unlock()
	if err != nil {
		return end{}, fmt.Errorf("bench: the stream of events ended: %w", err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case how := <-heard:
		return how, nil
	case <-timer.C:
		return end{}, fmt.Errorf("bench: nothing was heard of the end of %s for %v", id, patience)
	case <-ctx.Done():
		return end{}, ctx.Err()
	}
}

func (l *load) watchAll(ctx context.Context) {
	for e, err := range l.client.WatchAll(ctx) {
		at := time.Now()
		l.mu.Lock()
		if err != nil {
			l.stream = err
			l.mu.Unlock()
			return
		}
		l.heard(e, at)
		if e.Type.Terminal() || e.Type == event.Snapshot && event.Type(e.Data.Status).Terminal() {
			how := end{e.Data.Status, at}
			if waiting, ok := l.ends[e.OperationID]; ok {
				delete(l.ends, e.OperationID)
				waiting <- how
			} else {
				l.early[e.OperationID] = how
			}
		}
		l.mu.Unlock()
	}
}

func (l *load) watchOne(ctx context.Context, id string) (end, error) {
	for e, err := range l.client.Watch(ctx, id, 0) {
		if err != nil {
			return end{}, fmt.Errorf("bench: watch: %w", err)
		}
		at := time.Now()
		l.mu.Lock()
		l.heard(e, at)
		l.mu.Unlock()
		if e.Type.Terminal() {
			return end{e.Data.Status, at}, nil
		}
	}
	return end{}, fmt.Errorf("bench: the stream of %s ended before it did", id)
}

// heard notes how long a durable event took. Its time is the database's clock, which is this machine's when the server
// is here; it is read before the commit, in milliseconds.
func (l *load) heard(e event.Event, at time.Time) {
	if e.Type.Durable() && at.After(l.from) && at.Before(l.until) {
		l.events = append(l.events, max(at.Sub(e.Time.Time), 0))
	}
}

// check compares the chunks of twenty operations, from all over the run, with what was sent, byte for byte.
func (l *load) check(ctx context.Context) error {
	const most = 20
	body := slices.Clone(l.text)
	every := max(len(l.samples)/most, 1)
	for ; l.checked < min(len(l.samples), most); l.checked++ {
		one := l.samples[l.checked*every]
		season(body, one.salt)
		at, n := int64(0), int64(0)
		for chunk, err := range l.client.Chunks(ctx, one.id) {
			if err != nil {
				return fmt.Errorf("bench: check: %w", err)
			}
			if chunk.Index != n || chunk.StartByte < at || chunk.EndByte > int64(len(body)) ||
				chunk.Text != string(body[chunk.StartByte:chunk.EndByte]) ||
				len(bytes.TrimSpace(body[at:chunk.StartByte])) > 0 {
				return fmt.Errorf("bench: chunk %d of %s is not the text that was sent", n, one.id)
			}
			at, n = chunk.EndByte, n+1
		}
		if len(bytes.TrimSpace(body[at:])) > 0 {
			return fmt.Errorf("bench: the chunks of %s (%s) end at byte %d of %d", one.id, one.status, at, len(body))
		}
	}
	return nil
}

// BenchResult is what --json prints. Times are milliseconds, sizes bytes.
type BenchResult struct {
	Version int     `json:"version"` // of this format
	Clients int     `json:"clients"`
	Size    int64   `json:"size_bytes"`
	Rate    float64 `json:"rate,omitempty"`
	Watch   string  `json:"watch"`
	Cores   int     `json:"cores"`
	Go      string  `json:"go"`

	Operations int     `json:"operations"`
	Failed     int     `json:"failed"`
	Checked    int     `json:"checked"` // operations whose chunks were compared with what was sent
	Seconds    float64 `json:"seconds"` // from the first submit to the last end
	PerSecond  float64 `json:"operations_per_second"`
	BytesRate  float64 `json:"bytes_per_second"`
	Late       *Spread `json:"generator_late_ms,omitempty"` // with a rate: counted in the two measures that follow
	Completed  Spread  `json:"submit_to_completed_ms"`
	Submitted  Spread  `json:"submit_request_ms"`
	Events     Spread  `json:"event_to_socket_ms"`
	EventRate  float64 `json:"events_per_second"`

	Bare  *Spread      `json:"bare_request_ms,omitempty"`  // with a rate: the same requests to net/http that syncs 64 KiB and answers
	Disk  *Spread      `json:"disk_sync_ms,omitempty"`     // 64 KiB appended and synced where the data lies, just before
	Redis *RedisSpread `json:"redis_command_ms,omitempty"` // of the server that was started, with --redis

	ColdStart *ColdStart `json:"cold_start_ms,omitempty"`
	IdleRSS   int64      `json:"idle_rss_bytes,omitempty"`
	PeakRSS   int64      `json:"peak_rss_bytes,omitempty"`
}

// Spread is how a measure is spread, in milliseconds.
type Spread struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// RedisSpread is how long the server's short Redis commands took under the load. P50 and P99 are upper bounds: the
// server counts in buckets, of 0.5, 1, 2, 5 ms and so on.
type RedisSpread struct {
	Commands int64   `json:"commands"`
	P50      float64 `json:"p50_at_most"`
	P99      float64 `json:"p99_at_most"`
}

// tooLong stands for times beyond the last bucket: JSON has no infinity.
const tooLong = 1e6

// redisSpread is nil when there were no commands.
func redisSpread(before, after map[float64]int64) *RedisSpread {
	all := after[math.Inf(1)] - before[math.Inf(1)]
	if all == 0 {
		return nil
	}
	within := func(q float64) float64 {
		for _, bound := range slices.Sorted(maps.Keys(after)) {
			if float64(after[bound]-before[bound]) >= q*float64(all) {
				return min(bound*1e3, tooLong)
			}
		}
		return tooLong
	}
	return &RedisSpread{all, within(0.5), within(0.99)}
}

// ColdStart is how long after its start a server was ready, and had completed its first operation.
type ColdStart struct {
	Ready float64 `json:"ready"`
	First float64 `json:"first_completed"`
}

func (l *load) report(r *BenchResult) {
	r.Operations, r.Checked = len(l.samples), l.checked
	last := l.from
	var completed, submitted []time.Duration
	for _, s := range l.samples {
		if s.status != string(event.Completed) {
			r.Failed++
		}
		if s.ended.After(last) {
			last = s.ended
		}
		completed, submitted = append(completed, s.passed), append(submitted, s.submitted)
	}
	r.Seconds = last.Sub(l.from).Seconds()
	r.PerSecond = float64(r.Operations) / max(r.Seconds, 1e-9)
	r.BytesRate = r.PerSecond * float64(r.Size)
	r.EventRate = float64(len(l.events)) / l.Duration.Seconds()
	if l.Rate > 0 {
		late := spread(l.late)
		r.Late = &late
	}
	r.Completed, r.Submitted, r.Events = spread(completed), spread(submitted), spread(l.events)
}

func spread(all []time.Duration) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	slices.Sort(all)
	at := func(p float64) float64 { return ms(all[int(p*float64(len(all)-1))]) }
	return Spread{at(0.50), at(0.99), at(1)}
}

func ms(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

func (r BenchResult) print(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) { _, _ = fmt.Fprintf(t, name+"\t"+format+"\n", values...) }
	how := "as fast as they complete"
	if r.Rate > 0 {
		how = fmt.Sprintf("%g a second", r.Rate)
	}
	row("load", "%d clients · %s · %s · socket for %s · %d cores", r.Clients, byteSize(r.Size), how, r.Watch, r.Cores)
	row("operations", "%d in %.1f s · %d failed · %d compared byte for byte",
		r.Operations, r.Seconds, r.Failed, r.Checked)
	row("throughput", "%.0f operations/s · %.1f MB/s", r.PerSecond, r.BytesRate/1e6)
	if r.Late != nil {
		row("generator late", "p50 %.2f ms · p99 %.2f ms · max %.2f ms", r.Late.P50, r.Late.P99, r.Late.Max)
	}
	for _, s := range []struct {
		name string
		Spread
	}{
		{"submit → completed", r.Completed}, {"submit request", r.Submitted}, {"event recorded → socket", r.Events},
	} {
		row(s.name, "p50 %.2f ms · p99 %.2f ms · max %.2f ms", s.P50, s.P99, s.Max)
	}
	row("events", "%.0f/s", r.EventRate)
	if r.Bare != nil {
		row("a bare server's request", "p50 %.2f ms · p99 %.2f ms · max %.2f ms · ours %.2f and %.2f times that", r.Bare.P50, r.Bare.P99,
			r.Bare.Max, r.Submitted.P50/r.Bare.P50, r.Submitted.P99/r.Bare.P99)
	}
	if r.Disk != nil {
		row("disk: 64 KiB synced", "p50 %.2f ms · p99 %.2f ms · max %.2f ms", r.Disk.P50, r.Disk.P99, r.Disk.Max)
	}
	if r.Redis != nil {
		row("Redis command", "p50 ≤ %g ms · p99 ≤ %g ms · %d of them", r.Redis.P50, r.Redis.P99, r.Redis.Commands)
	}
	if r.ColdStart != nil {
		row("cold start", "ready %.0f ms · first completed %.0f ms", r.ColdStart.Ready, r.ColdStart.First)
		row("memory (RSS)", "idle %.1f MiB · peak %.1f MiB", float64(r.IdleRSS)/(1<<20), float64(r.PeakRSS)/(1<<20))
	}
	return t.Flush() // reports what the rows ran into
}

// byteSize is a size on the command line: KB is 1000 bytes, KiB 1024.
type byteSize int64

var units = []struct {
	name string
	n    int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"KB", 1e3}, {"MB", 1e6}, {"B", 1}}

// UnmarshalText reads "4KB" and the like.
func (s *byteSize) UnmarshalText(text []byte) error {
	number, unit := string(text), int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(n), u.n
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a size such as 4KB, 1MiB or 5MB", text)
	}
	*s = byteSize(n * unit)
	return nil
}

func (s byteSize) String() string {
	for _, u := range units {
		if u.n > 1 && int64(s)%u.n == 0 && int64(s)/u.n < 1000 {
			return fmt.Sprintf("%d %s", int64(s)/u.n, u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}

// prose makes n bytes of paragraphs: sentences of words of English-like lengths, one in a hundred not ASCII.
func prose(n int, seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 0))
	syllables := strings.Fields("an ba ced do er fin ga hol in jus ka lo men no or per qua ri se ton ul ver wi ex yl zo")
	var b bytes.Buffer
	for b.Len() < n {
		for range 3 + random.IntN(5) { // sentences of a paragraph
			for word := range 6 + random.IntN(14) {
				if word > 0 {
					b.WriteByte(' ')
				}
				for range 1 + random.IntN(4) {
					b.WriteString(syllables[random.IntN(len(syllables))])
				}
				if random.IntN(100) == 0 {
					b.WriteString("é")
				}
			}
			b.WriteString(". ")
		}
		b.WriteString("\n\n")
	}
	text := b.Bytes()[:n]
	for i := n - 1; text[i] >= 0x80; i-- { // a rune that was cut
		text[i] = '.'
	}
	for i := 0; i < n; i += saltEvery {
		season(text, 0)
	}
	return text
}

// season writes a number into the text, so that no two documents and no two stored parts of them are the same.
func season(text []byte, salt int64) {
	mark := fmt.Appendf(nil, "Document %012d. ", salt)
	for i := 0; i < len(text); i += saltEvery {
		end := i + copy(text[i:], mark)
		for ; end < len(text) && text[end]&0xc0 == 0x80; end++ { // a rune whose beginning was overwritten
			text[end] = '.'
		}
		for at := i - 1; at >= 0 && i-at <= 4 && text[at] >= 0x80; at-- { // or its end
			text[at] = '.'
		}
	}
}

const saltEvery = 64 << 10
