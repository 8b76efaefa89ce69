package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"chunkstream/live"
	"chunkstream/store"
	"chunkstream/worker"
)

// statsCollector reads everybody's own counters when they are asked for. No document, owner or operation is a label.
type statsCollector struct {
	db   *store.Store
	hub  *live.Hub
	work *worker.Worker
}

// stat is one number of what S counts.
type stat[S any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(S) float64
}

func gauge[S any](name, help string, value func(S) float64) stat[S] {
	return stat[S]{prometheus.NewDesc("chunkstream_"+name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter[S any](name, help string, value func(S) float64) stat[S] {
	return stat[S]{prometheus.NewDesc("chunkstream_"+name, help, nil, nil), prometheus.CounterValue, value}
}

var (
	databaseUp = prometheus.NewDesc("chunkstream_database_up", "1 if the database answered within a second when it was asked for this.", nil, nil)
	inDatabase = []stat[store.Stats]{
		gauge("queue_depth", "Operations that are queued.", func(s store.Stats) float64 { return float64(s.Queued) }),
		gauge("dead_letters_poison", "Operations that failed because their workers or parsers died on them.", func(s store.Stats) float64 { return float64(s.Poisoned) }),
		gauge("dead_letters_exhausted", "Operations that failed because of too many transient errors.", func(s store.Stats) float64 { return float64(s.Exhausted) }),
		gauge("operations_processing", "Operations under lease.", func(s store.Stats) float64 { return float64(s.Processing) }),
		gauge("queue_oldest_age_seconds", "How long the oldest due operation has waited.", func(s store.Stats) float64 { return s.OldestQueued.Seconds() }),
		gauge("webhook_deliveries_pending", "Deliveries to webhooks that have not ended.", func(s store.Stats) float64 { return float64(s.Undelivered) }),
		gauge("webhook_deliveries_dead", "Deliveries to webhooks that were given up within the last 7 days.", func(s store.Stats) float64 { return float64(s.Dead) }),
		counter("checkpoint_errors_total", "Failed database checkpoints; each is tried again.", func(s store.Stats) float64 { return float64(s.CheckpointErrors) }),
	}
	ofWorker = []stat[worker.Stats]{
		gauge("worker_running", "Operations in flight in this process.", func(w worker.Stats) float64 { return float64(w.Running) }),
		gauge("operations_stalled", "Operations in flight in this process of which nothing has been stored for 10 s.", func(w worker.Stats) float64 { return float64(w.Stalled) }),
		counter("operations_completed_total", "Operations this process completed.", func(w worker.Stats) float64 { return float64(w.Completed) }),
		counter("operations_failed_total", "Operations this process ended with a permanent error.", func(w worker.Stats) float64 { return float64(w.Failed) }),
		counter("operations_retried_total", "Transient errors of this process's runs.", func(w worker.Stats) float64 { return float64(w.Retried) }),
		counter("parser_deaths_total", "Child processes that died or were killed over a text.", func(w worker.Stats) float64 { return float64(w.Crashed) }),
		counter("parser_starts_failed_total", "Times that no child process could be started for a text; each is tried again.", func(w worker.Stats) float64 { return float64(w.NoProcess) }),
		counter("operations_fenced_total", "Runs that ended because the lease was lost.", func(w worker.Stats) float64 { return float64(w.Fenced) }),
		counter("worker_errors_total", "Store calls outside a run that failed; each is tried again.", func(w worker.Stats) float64 { return float64(w.Errors) }),
	}
	ofHub = []stat[live.Stats]{
		gauge("ws_connections", "Open WebSockets.", func(l live.Stats) float64 { return float64(l.Sockets) }),
		gauge("sse_connections", "Open SSE responses.", func(l live.Stats) float64 { return float64(l.Responses) }),
		counter("events_published_total", "Events offered to watchers.", func(l live.Stats) float64 { return float64(l.Published) }),
		counter("events_dropped_total", "Events the live queue could not take; watchers got them from SQL.", func(l live.Stats) float64 { return float64(l.Dropped) }),
		counter("events_delivered_total", "Events written to clients.", func(l live.Stats) float64 { return float64(l.Delivered) }),
		counter("event_gap_reads_total", "Reads of events from SQL for watchers.", func(l live.Stats) float64 { return float64(l.GapReads) }),
		counter("event_source_errors_total", "Failed reads of events.", func(l live.Stats) float64 { return float64(l.SourceErrors) }),
		counter("slow_readers_closed_total", "Streams ended because their reader was too slow.", func(l live.Stats) float64 { return float64(l.SlowClosed) }),
	}
)

func describe[S any](ch chan<- *prometheus.Desc, stats []stat[S]) {
	for _, s := range stats {
		ch <- s.desc
	}
}

func collect[S any](ch chan<- prometheus.Metric, stats []stat[S], of S) {
	for _, s := range stats {
		ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(of))
	}
}

// Describe names every metric.
func (c *statsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- databaseUp
	describe(ch, inDatabase)
	describe(ch, ofWorker)
	describe(ch, ofHub)
}

// Collect reads the counters. Of a database that does not answer within a second nothing is said but that: its numbers
// are left out rather than reported as zero, and the process's own are most wanted then.
func (c *statsCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	up := 0.0
	if db, err := c.db.Stats(ctx); err == nil {
		up = 1
		collect(ch, inDatabase, db)
	}
	ch <- prometheus.MustNewConstMetric(databaseUp, prometheus.GaugeValue, up)
	collect(ch, ofWorker, c.work.Stats())
	collect(ch, ofHub, c.hub.Stats())
}

func metrics(db *store.Store, hub *live.Hub, work *worker.Worker, logs *logQueue) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&statsCollector{db: db, hub: hub, work: work},
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chunkstream_log_lines_dropped_total",
			Help: "Lines of the log that were lost because nobody read it in time."},
			func() float64 { return float64(logs.dropped.Load()) }))
	return r
}
