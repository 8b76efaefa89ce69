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

type stat struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(store.Stats, live.Stats, worker.Stats) float64
}

func gauge(name, help string, value func(store.Stats, live.Stats, worker.Stats) float64) stat {
	return stat{prometheus.NewDesc("chunkstream_"+name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(store.Stats, live.Stats, worker.Stats) float64) stat {
	return stat{prometheus.NewDesc("chunkstream_"+name, help, nil, nil), prometheus.CounterValue, value}
}

var stats = []stat{
	gauge("queue_depth", "Operations that are queued.", func(s store.Stats, _ live.Stats, _ worker.Stats) float64 { return float64(s.Queued) }),
	gauge("dead_letters_poison", "Operations that failed because their workers or parsers died on them.", func(s store.Stats, _ live.Stats, _ worker.Stats) float64 { return float64(s.Poisoned) }),
	gauge("dead_letters_exhausted", "Operations that failed because of too many transient errors.", func(s store.Stats, _ live.Stats, _ worker.Stats) float64 { return float64(s.Exhausted) }),
	gauge("operations_processing", "Operations under lease.", func(s store.Stats, _ live.Stats, _ worker.Stats) float64 { return float64(s.Processing) }),
	gauge("queue_oldest_age_seconds", "How long the oldest due operation has waited.", func(s store.Stats, _ live.Stats, _ worker.Stats) float64 { return s.OldestQueued.Seconds() }),
	gauge("webhook_deliveries_pending", "Deliveries to webhooks that have not ended.", func(s store.Stats, _ live.Stats, _ worker.Stats) float64 { return float64(s.Undelivered) }),
	gauge("webhook_deliveries_dead", "Deliveries to webhooks that were given up within the last 7 days.", func(s store.Stats, _ live.Stats, _ worker.Stats) float64 { return float64(s.Dead) }),
	counter("checkpoint_errors_total", "Failed database checkpoints; each is tried again.", func(s store.Stats, _ live.Stats, _ worker.Stats) float64 { return float64(s.CheckpointErrors) }),
	gauge("worker_running", "Operations in flight in this process.", func(_ store.Stats, _ live.Stats, w worker.Stats) float64 { return float64(w.Running) }),
	counter("operations_completed_total", "Operations this process completed.", func(_ store.Stats, _ live.Stats, w worker.Stats) float64 { return float64(w.Completed) }),
	counter("operations_failed_total", "Operations this process ended with a permanent error.", func(_ store.Stats, _ live.Stats, w worker.Stats) float64 { return float64(w.Failed) }),
	counter("operations_retried_total", "Transient errors of this process's runs.", func(_ store.Stats, _ live.Stats, w worker.Stats) float64 { return float64(w.Retried) }),
	counter("parser_deaths_total", "Child processes that died or were killed over a text.", func(_ store.Stats, _ live.Stats, w worker.Stats) float64 { return float64(w.Crashed) }),
	counter("operations_fenced_total", "Runs that ended because the lease was lost.", func(_ store.Stats, _ live.Stats, w worker.Stats) float64 { return float64(w.Fenced) }),
	counter("worker_errors_total", "Store calls outside a run that failed; each is tried again.", func(_ store.Stats, _ live.Stats, w worker.Stats) float64 { return float64(w.Errors) }),
	gauge("ws_connections", "Open WebSockets.", func(_ store.Stats, l live.Stats, _ worker.Stats) float64 { return float64(l.Sockets) }),
	gauge("sse_connections", "Open SSE responses.", func(_ store.Stats, l live.Stats, _ worker.Stats) float64 { return float64(l.Responses) }),
	counter("events_published_total", "Events offered to watchers.", func(_ store.Stats, l live.Stats, _ worker.Stats) float64 { return float64(l.Published) }),
	counter("events_dropped_total", "Events the live queue could not take; watchers got them from SQL.", func(_ store.Stats, l live.Stats, _ worker.Stats) float64 { return float64(l.Dropped) }),
	counter("events_delivered_total", "Events written to clients.", func(_ store.Stats, l live.Stats, _ worker.Stats) float64 { return float64(l.Delivered) }),
	counter("event_gap_reads_total", "Reads of events from SQL for watchers.", func(_ store.Stats, l live.Stats, _ worker.Stats) float64 { return float64(l.GapReads) }),
	counter("event_source_errors_total", "Failed reads of events.", func(_ store.Stats, l live.Stats, _ worker.Stats) float64 { return float64(l.SourceErrors) }),
	counter("slow_readers_closed_total", "Streams ended because their reader was too slow.", func(_ store.Stats, l live.Stats, _ worker.Stats) float64 { return float64(l.SlowClosed) }),
}

// Describe names every metric.
func (c *statsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range stats {
		ch <- s.desc
	}
}

// Collect reads the counters. A database that does not answer within a second leaves its gauges out: they are then
// reported as invalid rather than as zero.
func (c *statsCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	db, err := c.db.Stats(ctx)
	hub, work := c.hub.Stats(), c.work.Stats()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(stats[0].desc, err)
		return
	}
	for _, s := range stats {
		ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(db, hub, work))
	}
}

func metrics(db *store.Store, hub *live.Hub, work *worker.Worker) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&statsCollector{db: db, hub: hub, work: work})
	return r
}
