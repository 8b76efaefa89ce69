package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"chunkstream/dispatch"
	"chunkstream/live"
	"chunkstream/redisconn"
)

// overRedis puts wake-ups and events on the roles: each part gets the one it needs.
func (s *service) overRedis(source live.Source) error {
	wake := dispatch.RedisConfig{Commands: s.conns.Commands, Free: func() int { return s.work.Free() }}
	if s.workers > 0 {
		wake.Blocking = s.conns.Blocking
	}
	redis, err := dispatch.NewRedis(wake)
	if err != nil {
		return err
	}
	bus, err := live.NewRedis(live.RedisConfig{Commands: s.conns.Commands, Feed: s.conns.Feed,
		Source: source, QueueDepth: busDepth})
	if err != nil {
		return err
	}
	s.wake, s.redis, s.bus = redis, redis, bus
	s.forget = bus.Forget
	s.roles = rolesCollector{s.conns, bus, redis}
	return nil
}

// rolesCollector shows how each Redis role stands: the ticket's success metrics.
type rolesCollector struct {
	conns *redisconn.Conns
	bus   *live.Redis
	wake  *dispatch.Redis
}

var (
	roleConnections = prometheus.NewDesc("chunkstream_redis_connections", "Connections of a role, by state.", []string{"role", "state"}, nil)
	roleWaiting     = prometheus.NewDesc("chunkstream_redis_waiting", "Calls that wait for one of a role's connections.", []string{"role"}, nil)
	roleUp          = prometheus.NewDesc("chunkstream_redis_up", "1 when the last thing Redis was asked it answered. Absent until it is asked something.", []string{"role"}, nil)
	roleDials       = prometheus.NewDesc("chunkstream_redis_dials_total", "Connections attempted, by outcome.", []string{"role", "outcome"}, nil)
	roleErrors      = prometheus.NewDesc("chunkstream_redis_errors_total", "Calls that failed, by class.", []string{"role", "class"}, nil)
	roleLatency     = prometheus.NewDesc("chunkstream_redis_command_seconds", "How long calls took; a blocking role's wait is in it.", []string{"role"}, nil)
	busEvents       = prometheus.NewDesc("chunkstream_redis_events_total", "Events between this process and Redis, by what became of them.", []string{"outcome"}, nil)
	busOwed         = prometheus.NewDesc("chunkstream_redis_operations_owed", "Operations that Redis lacks events of, to be mended from SQL.", nil, nil)
	wakeUps         = prometheus.NewDesc("chunkstream_redis_wakeups_total", "Wake-ups between this process and Redis, by what became of them.", []string{"outcome"}, nil)
	roleMismatches  = prometheus.NewDesc("chunkstream_redis_role_mismatches_total", "Clients that were refused because they had the wrong role.", nil, nil)
)

// Describe names every metric.
func (c rolesCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{roleConnections, roleWaiting, roleUp, roleDials, roleErrors, roleLatency, busEvents, busOwed,
		wakeUps, roleMismatches} {
		ch <- d
	}
}

// Collect reads the roles' counters.
func (c rolesCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, s := range []redisconn.Stats{c.conns.Commands.Stats(), c.conns.Commands.BigStats(), c.conns.Blocking.Stats(), c.conns.Feed.Stats()} {
		// The role for large values may go unused for ever: that is no outage.
		switch {
		case s.Up:
			gauge(roleUp, 1, s.Role)
		case s.Dials > 0:
			gauge(roleUp, 0, s.Role)
		}
		gauge(roleConnections, float64(s.InUse), s.Role, "in_use")
		gauge(roleConnections, float64(s.Idle), s.Role, "idle")
		gauge(roleWaiting, float64(s.Waiting), s.Role)
		count(roleDials, s.Dials-s.DialErrors, s.Role, "ok")
		count(roleDials, s.DialErrors, s.Role, "error")
		for class, n := range s.Errors {
			count(roleErrors, n, s.Role, string(class))
		}
		bounds := redisconn.LatencyBounds()
		buckets, sum := make(map[float64]uint64, len(bounds)), uint64(0)
		for i, n := range s.Latency {
			sum += uint64(n)
			if i < len(bounds) {
				buckets[bounds[i].Seconds()] = sum
			}
		}
		ch <- prometheus.MustNewConstHistogram(roleLatency, sum, s.Total.Seconds(), buckets, s.Role)
	}
	bus, wake := c.bus.Stats(), c.wake.Stats()
	for outcome, n := range map[string]int64{"written": bus.Written, "dropped": bus.Dropped, "failed": bus.Failures,
		"filled": bus.Filled, "received": bus.Received, "foreign": bus.Foreign, "gap": bus.Gaps} {
		count(busEvents, n, outcome)
	}
	gauge(busOwed, float64(bus.Owed))
	for outcome, n := range map[string]int64{"written": wake.Written, "dropped": wake.Dropped, "failed": wake.Failures,
		"received": wake.Received} {
		count(wakeUps, n, outcome)
	}
	count(roleMismatches, redisconn.Mismatches())
}
