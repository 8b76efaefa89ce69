package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"chunkstream/redisconn"
	"chunkstream/store"
)

type doctorCmd struct {
	backing
	out io.Writer
}

// finding is one thing looked at: well when fix is empty, a warning when it is not serious.
type finding struct {
	what, found, fix string
	serious          bool
}

// Run looks at everything a process would stand on, as serve would, and prints what to mend. It fails when something
// would keep the service from working; a warning alone does not.
func (c *doctorCmd) Run(ctx context.Context) error {
	if c.out == nil {
		c.out = os.Stdout
	}
	if err := c.backing.check(); err != nil {
		return err
	}
	findings := append(c.system(), c.database(ctx)...)
	if !c.Redis.Empty() {
		findings = append(findings, c.redis(ctx)...)
	}
	serious := 0
	for _, f := range findings {
		mark := "ok  "
		switch {
		case f.serious:
			mark = "FAIL"
			serious++
		case f.fix != "":
			mark = "warn"
		}
		fmt.Fprintf(c.out, "%s  %-22s %s\n", mark, f.what, f.found)
		if f.fix != "" {
			fmt.Fprintf(c.out, "      %-22s fix: %s\n", "", f.fix)
		}
	}
	if serious > 0 {
		return &exitError{exitFailed, fmt.Errorf("%d of %d checks failed", serious, len(findings)), ""}
	}
	return nil
}

// What a busy server needs: sockets are files.
const wantedFiles = 4096

func (c *doctorCmd) system() []finding {
	f := finding{what: "open files"}
	if n, err := openFiles(); err != nil {
		f.found = err.Error()
	} else if f.found = fmt.Sprintf("up to %d", n); n < wantedFiles {
		f.fix = "ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit: each WebSocket is one"
	}
	all := []finding{f}
	if c.Database.Empty() {
		d := finding{what: "disk"}
		if err := makeFolder(c.Data); err != nil {
			return append(all, finding{what: "data folder", found: err.Error(), fix: "--data with a folder you may write to", serious: true})
		}
		if free, err := freeMiB(c.Data); err != nil {
			d.found = err.Error()
		} else if d.found = fmt.Sprintf("%d MiB free at %s", free, c.Data); free < 1024 {
			d.fix = "make room: a full disk refuses documents until there is some"
		}
		all = append(all, d)
	}
	return all
}

func (c *doctorCmd) database(ctx context.Context) (all []finding) {
	cfg, err := c.storeConfig()
	if err != nil {
		return []finding{{what: "database", found: err.Error(), fix: "--data with a folder you may write to", serious: true}}
	}
	began := time.Now()
	db, err := store.Open(ctx, cfg)
	if err != nil {
		return []finding{{what: "database", found: err.Error(), serious: true,
			fix: "check that it is up and that its user may log in and create tables"}}
	}
	defer func() {
		if err := db.Close(); err != nil {
			all = append(all, finding{what: "database", found: "closing: " + err.Error(), fix: "look at its log", serious: true})
		}
	}()
	info, err := db.Info(ctx)
	if err != nil {
		return []finding{{what: "database", found: err.Error(), fix: "look at its log", serious: true}}
	}
	all = append(all, finding{what: "database", found: fmt.Sprintf("%s %s, migration %d, opened in %v", info.Engine, info.Version,
		info.Migration, time.Since(began).Round(time.Millisecond))})
	st, err := db.Stats(ctx)
	if err != nil {
		return append(all, finding{what: "queue", found: err.Error(), fix: "look at the database's log", serious: true})
	}
	q := finding{what: "queue", found: fmt.Sprintf("%d queued, %d processing, the oldest waits %v", st.Queued, st.Processing,
		st.OldestQueued.Round(time.Second))}
	if st.OldestQueued > time.Minute {
		q.fix = "start more workers: chunkstream worker, with the same --database"
	}
	return append(all, q)
}

func (c *doctorCmd) redis(ctx context.Context) (all []finding) {
	conns, err := redisconn.Open(ctx, redisconn.Config{URL: c.Redis})
	if err != nil {
		return []finding{{what: "redis", found: err.Error(), fix: "--redis redis://127.0.0.1:6379/0", serious: true}}
	}
	defer func() {
		if err := conns.Close(); err != nil {
			all = append(all, finding{what: "redis", found: "closing: " + err.Error(), fix: "look at its log"})
		}
	}()
	var rtt time.Duration
	for range 8 { // the first connection takes longer than one call may
		if rtt, err = conns.Commands.Ping(ctx); err == nil {
			break
		}
		if redisconn.Cause(err) == redisconn.ClassAuth {
			return []finding{{what: "redis", found: err.Error(), fix: "check the URL's user and password", serious: true}}
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return []finding{{what: "redis", found: ctx.Err().Error(), fix: "run it again", serious: true}}
		}
	}
	if err != nil {
		return []finding{{what: "redis", found: err.Error(),
			fix: "start it, or leave --redis out: without it everything works, up to a second later"}}
	}
	all = append(all, finding{what: "redis round trip", found: rtt.String()})
	text, err := conns.Commands.Info(ctx, "everything")
	if err != nil {
		return append(all, finding{what: "redis info", found: err.Error(), fix: "let the ACL user run INFO"})
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[k] = v
		}
	}
	v := finding{what: "redis version", found: info["redis_version"]}
	if major, _, _ := strings.Cut(info["redis_version"], "."); !atLeast(major, 6) {
		v.fix = "Redis 6.2 or newer"
	}
	role := finding{what: "redis role", found: info["role"]}
	if info["role"] != "master" {
		role.fix, role.serious = "connect to the master: a replica refuses writes", true
	}
	memory := finding{what: "redis memory", found: fmt.Sprintf("%s used, at most %s, policy %s", info["used_memory_human"],
		info["maxmemory_human"], info["maxmemory_policy"])}
	if p := info["maxmemory_policy"]; info["maxmemory"] != "0" && p == "noeviction" {
		memory.fix = "CONFIG SET maxmemory-policy volatile-ttl: every key here has a TTL and SQL holds the truth"
	}
	all = append(all, v, role, memory, finding{what: "redis persistence",
		found: fmt.Sprintf("aof %s, rdb %s (not needed: SQL holds the truth)", onOff(info["aof_enabled"]), info["rdb_last_bgsave_status"])})
	there, err := conns.Commands.Time(ctx)
	clock := finding{what: "redis clock"}
	switch skew := time.Until(there).Abs(); {
	case err != nil:
		clock.found, clock.fix = err.Error(), "let the ACL user run TIME"
	default:
		clock.found = fmt.Sprintf("%v from this machine's (not used for leases: those are the database's)", skew.Round(time.Millisecond))
		if skew > 30*time.Second {
			clock.fix = "run an NTP client on both machines"
		}
	}
	return append(append(all, clock), redisRights(ctx, conns)...)
}

func atLeast(number string, least int) bool {
	n, err := strconv.Atoi(number)
	return err == nil && n >= least
}

func onOff(flag string) string {
	if flag == "1" {
		return "on"
	}
	return "off"
}
