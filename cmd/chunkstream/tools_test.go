package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"chunkstream/servertest"
)

// program runs the program with some arguments to its end.
func program(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	return programWith(t, nil, args...)
}

// programWith is program with more in its environment.
func programWith(t *testing.T, env []string, args ...string) (output string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0"), env...)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestDemo runs what the README offers: it ends by itself, and says that nothing was lost.
func TestDemo(t *testing.T) {
	t.Parallel()
	out, code := program(t, "demo", "--bytes", fmt.Sprint(8<<20/slowdown))
	for _, want := range []string{"want *redisconn.Blocking, got *redisconn.Commands", "KILLED redis and worker", "degraded",
		"completed, attempt 2", "nothing was lost"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q", want)
		}
	}
	if code != 0 || t.Failed() {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	redis := servertest.StartRedis(t)
	full := servertest.StartRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "noeviction")
	locked := servertest.StartRedis(t, "--requirepass", "secret")
	away := servertest.FreeAddress(t)
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
		not  string
	}{
		"well":       {[]string{"--redis", redis.URL()}, 0, []string{"sqlite", "redis rights", "migration"}, "FAIL"},
		"policy":     {[]string{"--redis", full.URL()}, 0, []string{"warn  redis memory", "volatile-ttl"}, "FAIL"},
		"password":   {[]string{"--redis", locked.URL()}, exitFailed, []string{"FAIL  redis", "password"}, "rights"},
		"redis away": {[]string{"--redis", "redis://" + away}, 0, []string{"warn  redis", "start it"}, "FAIL"},
		"sql away":   {[]string{"--database", "postgres://nobody@" + away + "/x"}, exitFailed, []string{"FAIL  database"}, "migration"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := program(t, append([]string{"doctor", "--data", t.TempDir()}, c.args...)...)
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q", want)
				}
			}
			if code != c.code || strings.Contains(out, c.not) || t.Failed() {
				t.Errorf("exit code %d, want %d, and nothing of %q in\n%s", code, c.code, c.not, out)
			}
		})
	}
}

// TestRoleMetrics: the ticket's success metrics are there, per role, and no client was ever refused for its role.
func TestRoleMetrics(t *testing.T) {
	t.Parallel()
	redis := servertest.StartRedis(t)
	s := startServer(t, servertest.FreeAddress(t), t.TempDir(), nil, "--redis", redis.URL()).ready()
	resp, err := http.Get("http://" + s.address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`chunkstream_redis_connections{role="commands",state="idle"}`, `chunkstream_redis_connections{role="blocking",state="in_use"}`,
		`chunkstream_redis_connections{role="feed",state=`, `chunkstream_redis_waiting{role="blocking"}`,
		`chunkstream_redis_dials_total{outcome="ok",role="commands"}`, `chunkstream_redis_command_seconds_bucket{role="commands",le="0.01"}`,
		`chunkstream_redis_events_total{outcome="written"}`, `chunkstream_redis_wakeups_total{outcome="dropped"}`,
		"chunkstream_redis_operations_owed 0\n", "chunkstream_redis_role_mismatches_total 0\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s", want)
		}
	}
	if unused := `chunkstream_redis_up{role="commands_big"}`; strings.Contains(string(text), unused) {
		t.Errorf("%s is there, and nothing was asked of it", unused)
	}
	s.stop()
}
