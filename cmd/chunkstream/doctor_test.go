package main

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"chunkstream/client"
	"chunkstream/servertest"
)

// userOn makes an ACL user and gives the URL that logs it in.
func userOn(t *testing.T, r *servertest.Redis, grants ...string) string {
	t.Helper()
	words := append([]string{"ACL", "SETUSER", "app", "reset", "on", ">pw"}, grants...)
	if got, err := r.Do(words...); got != "+OK" {
		t.Fatal(got, err)
	}
	return "redis://app:pw@" + r.Address + "/0"
}

// TestDoctorNamesMissingRights takes one right at a time from a Redis user: the doctor names it, and what it says to run
// mends it.
func TestDoctorNamesMissingRights(t *testing.T) {
	t.Parallel()
	all := strings.Fields(redisGrants)
	for lacking, fix := range map[string]string{
		"+xreadgroup": "+xreadgroup", "+evalsha": "+evalsha", "+publish": "+publish", "+xgroup|create": "+xgroup|create",
		"~stream:chunking:*": "~stream:chunking:*", "&chunking:*": "&chunking:*",
	} {
		t.Run(lacking, func(t *testing.T) {
			t.Parallel()
			redis := servertest.StartRedis(t)
			without := slices.DeleteFunc(slices.Clone(all), func(g string) bool { return g == lacking })
			if len(without) != len(all)-1 {
				t.Fatalf("%s is not in %v", lacking, all)
			}
			address := userOn(t, redis, without...)
			out, code := program(t, "doctor", "--data", t.TempDir(), "--redis", address)
			if want := "fix: ACL SETUSER app " + fix + "\n"; code != exitFailed || !strings.Contains(out, want) {
				t.Fatalf("exit code %d, want %d and %q in\n%s", code, exitFailed, want, out)
			}
			if got, err := redis.Do("ACL", "SETUSER", "app", fix); got != "+OK" {
				t.Fatal(got, err)
			}
			if out, code = program(t, "doctor", "--data", t.TempDir(), "--redis", address); code != 0 {
				t.Errorf("exit code %d after the fix\n%s", code, out)
			}
		})
	}
}

// TestDoctorMayNotAsk: a user that may not ask for its rights is told so, and what can be tried is tried.
func TestDoctorMayNotAsk(t *testing.T) {
	t.Parallel()
	redis := servertest.StartRedis(t)
	mayNotAsk := slices.DeleteFunc(strings.Fields(redisGrants), func(g string) bool { return strings.HasPrefix(g, "+acl") })
	out, code := program(t, "doctor", "--data", t.TempDir(), "--redis", userOn(t, redis, mayNotAsk...))
	for _, want := range []string{"warn  redis rights, asked", "could not be looked at", "+acl|dryrun", "ok    redis rights, tried"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q", want)
		}
	}
	if code != 0 || t.Failed() {
		t.Errorf("exit code %d\n%s", code, out)
	}
	out, code = program(t, "doctor", "--data", t.TempDir(), "--redis", userOn(t, redis, append(mayNotAsk, "-xreadgroup")...))
	if code != exitFailed || !strings.Contains(out, "FAIL  redis rights, tried") {
		t.Errorf("exit code %d without XREADGROUP\n%s", code, out)
	}
}

// TestGrantsAreEnough: the service does all its work as a user who has the documented rights and no others. Redis logs
// what it refuses.
func TestGrantsAreEnough(t *testing.T) {
	t.Parallel()
	redis := servertest.StartRedis(t)
	ours := slices.DeleteFunc(strings.Fields(redisGrants), func(g string) bool {
		return strings.HasPrefix(g, "+acl") || g == "+info" || g == "+time"
	})
	database := servertest.StartPostgres(t).Database()
	flags := []string{"--database", database, "--redis", userOn(t, redis, ours...)}
	web := startProcess(t, "serve", servertest.FreeAddress(t), nil, append(flags, "--workers", "0")...).ready()
	worker := startProcess(t, "worker", servertest.FreeAddress(t), nil, flags...).ready()
	if got, err := redis.Do("ACL", "LOG", "RESET"); got != "+OK" { // what the driver asks on connecting is its own affair
		t.Fatal(got, err)
	}
	op, err := web.client().Submit(t.Context(), client.Submission{Text: strings.NewReader(realText(t, 200_000)),
		Settings: url.Values{"chunk_size": {"60"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range web.client().Watch(t.Context(), op.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*server{web, worker} {
		if status, why := readinessOf(t, s); status != "ready" {
			t.Errorf("%s says %s: %s", s.address, status, why)
		}
		s.stop()
	}
	for _, key := range []string{"operation:" + op.ID, "stream:chunking:" + op.ID, "chunkstream:wake"} {
		if got, err := redis.Do("EXISTS", key); got != ":1" {
			t.Errorf("%s: %s, %v", key, got, err)
		}
	}
	if got, err := redis.Do("ACL", "LOG"); got != "*0" {
		t.Errorf("Redis refused something: %s, %v", got, err)
	}
}
