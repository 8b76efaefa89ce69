package servertest_test

import (
	"testing"

	"chunkstream/servertest"
)

func TestRedisComesAndGoes(t *testing.T) {
	t.Parallel()
	r := servertest.StartRedis(t, "--maxmemory", "10mb")
	if got, err := r.Do("SET", "k", "v"); got != "+OK" {
		t.Fatal(got, err)
	}
	r.Kill()
	if got, err := r.Do("PING"); err == nil {
		t.Fatalf("a killed server said %q", got)
	}
	r.Start()
	if got, err := r.Do("GET", "k"); got != "$-1" {
		t.Errorf("after a restart: %q, %v, want nothing", got, err)
	}
}

func TestPostgresKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	p := servertest.StartPostgres(t)
	a, b := p.Database(), p.Database()
	if a == b {
		t.Errorf("one database twice: %s", a)
	}
	p.Kill()
	p.Start()
	if c := p.Database(); c == a || c == b {
		t.Errorf("%s again", c)
	}
}
