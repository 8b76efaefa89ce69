package main

import (
	"fmt"
	"math"

	"chunkstream/limit"
	"chunkstream/redisconn"
)

// ownerLimits is how much each owner may do, besides what limitFlags say of queued work. 0 is without a limit.
type ownerLimits struct {
	RateLimit  float64 `group:"Limits of each owner" help:"Requests a second, in the long run; 0: as many as come."`
	RateBurst  int     `group:"Limits of each owner" help:"Requests at once; default: those of two seconds."`
	Replicas   int     `group:"Limits of each owner" default:"1" help:"Processes that share the limit: each allows its part while Redis is away."`
	MaxStreams int     `group:"Limits of each owner" help:"WebSockets and event streams open at once in this process; 0: as many as the process takes."`
	MaxStored  int64   `group:"Limits of each owner" placeholder:"BYTES" help:"Bytes of stored texts; 0: as many as come."`
}

func (l *ownerLimits) check() error {
	if l.MaxStreams < 0 || l.MaxStored < 0 || l.RateBurst < 0 {
		return &exitError{exitUsage, fmt.Errorf("a limit is 0 or positive"), ""}
	}
	_, err := l.limiter(nil)
	return err
}

// limiter gives what bounds the requests, nil without a limit. commands may be nil.
func (l *ownerLimits) limiter(commands *redisconn.Commands) (*limit.Limiter, error) {
	if l.RateLimit == 0 {
		return nil, nil
	}
	burst := l.RateBurst
	if burst == 0 {
		burst = int(math.Ceil(2 * l.RateLimit))
	}
	made, err := limit.New(limit.Config{PerSecond: l.RateLimit, Burst: burst, Replicas: l.Replicas, Redis: commands})
	if err != nil {
		return nil, &exitError{exitUsage, err, "--rate-limit 50 --rate-burst 100"}
	}
	return made, nil
}
