package redisconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"chunkstream/secret"
)

func TestAddresses(t *testing.T) {
	type want struct {
		kind           kind
		addresses      string
		user, password string
		master         string
		db             int
		tls            bool
	}
	for url, want := range map[string]want{
		"redis://localhost":                 {addresses: "localhost:6379"},
		"redis://localhost/":                {addresses: "localhost:6379"},
		"redis://h:7000/3":                  {addresses: "h:7000", db: 3},
		"redis://h:7000?db=3":               {addresses: "h:7000?db=3"}, // refused below: the host has a parameter
		"redis://[::1]:7000":                {addresses: "[::1]:7000"},
		"redis://[::1]":                     {addresses: "[::1]:6379"},
		"redis://:pw@h":                     {addresses: "h:6379", password: "pw"},
		"redis://u:p%40%3A%2Fw@h":           {addresses: "h:6379", user: "u", password: "p@:/w"},
		"rediss://u@h":                      {addresses: "h:6379", user: "u", tls: true},
		"unix:///run/redis.sock":            {addresses: "/run/redis.sock"},
		"unix://u:pw@/run/redis.sock?db=2":  {addresses: "/run/redis.sock", user: "u", password: "pw", db: 2},
		"redis+sentinel://a,b:1,[::1]/main": {kind: sentinel, addresses: "a:26379 b:1 [::1]:26379", master: "main"},
		"rediss+sentinel://u:pw@a/main/2": {kind: sentinel, addresses: "a:26379", user: "u", password: "pw", master: "main",
			db: 2, tls: true},
		"redis+cluster://a:1,b": {kind: cluster, addresses: "a:1 b:6379"},
	} {
		s, err := Config{URL: secret.New(url)}.settings()
		if strings.Contains(want.addresses, "?") {
			if err == nil {
				t.Errorf("%s: got %v, want an error", url, s.addresses)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got := strings.Join(s.addresses, " "); s.kind != want.kind || got != want.addresses || s.Username != want.user ||
			s.Password.Reveal() != want.password || s.master != want.master || s.db != want.db || s.TLS != nil != want.tls {
			t.Errorf("%s: got %v %s %s %q %s %d %v, want %+v", url, s.kind, got, s.Username, s.Password.Reveal(), s.master,
				s.db, s.TLS != nil, want)
		}
	}
}

// TestBadConfigs: each is refused by name, and no message holds a secret.
func TestBadConfigs(t *testing.T) {
	for _, c := range []struct {
		field  string
		config Config
	}{
		{"URL", Config{}},
		{"URL", Config{URL: secret.New("localhost:6379")}},
		{"URL", Config{URL: secret.New("http://u:hush@h")}},
		{"URL", Config{URL: secret.New("redis+other://u:hush@h")}},
		{"URL", Config{URL: secret.New("unix+cluster://u:hush@/p")}},
		{"URL", Config{URL: secret.New("redis://u:hush@")}},
		{"URL", Config{URL: secret.New("redis://u:hush@h:port")}},
		{"URL", Config{URL: secret.New("redis://u:hush@h:70000")}},
		{"URL", Config{URL: secret.New("redis://u:hush%@h")}},
		{"URL", Config{URL: secret.New("redis://u%:hush@h")}},
		{"URL", Config{URL: secret.New("redis://u:hush@h,i")}},
		{"URL", Config{URL: secret.New("redis://u:hush@h/x")}},
		{"URL", Config{URL: secret.New("redis://u:hush@h/-1")}},
		{"URL", Config{URL: secret.New("redis://u:hush@h/0?timeout=5s")}},
		{"URL", Config{URL: secret.New("redis://u:hush@h/0?db=1&db=%")}},
		{"URL", Config{URL: secret.New("unix://u:hush@h")}},
		{"URL", Config{URL: secret.New("redis+sentinel://u:hush@a,b")}},
		{"URL", Config{URL: secret.New("redis+cluster://u:hush@a,b/1")}},
		{"TLS", Config{URL: secret.New("redis://u:hush@h"), TLS: &tls.Config{}}},
		{"CommandTimeout", Config{URL: secret.New("redis://h"), CommandTimeout: -1}},
		{"BigTimeout", Config{URL: secret.New("redis://h"), BigTimeout: -1}},
		{"DialTimeout", Config{URL: secret.New("redis://h"), DialTimeout: -1}},
		{"Connections", Config{URL: secret.New("redis://h"), Connections: -1}},
		{"Connections", Config{URL: secret.New("redis://h"), Connections: 257}},
		{"TransactionConnections", Config{URL: secret.New("redis://h"), TransactionConnections: -1}},
		{"BlockingConnections", Config{URL: secret.New("redis://h"), BlockingConnections: 1025}},
		{"ClientName", Config{URL: secret.New("redis://h"), ClientName: "a b"}},
	} {
		_, err := Open(t.Context(), c.config)
		var e *ConfigError
		if !errors.As(err, &e) || e.Field != c.field || e.Problem == "" || e.Fix == "" {
			t.Errorf("%q: got %v, want an error about %s", c.config.URL.Reveal(), err, c.field)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// TestDefaults holds the documented values against the code.
func TestDefaults(t *testing.T) {
	s := must[*settings](t)(Config{URL: secret.New("redis://h")}.settings())
	got := fmt.Sprintln(s.CommandTimeout, s.BigTimeout, s.DialTimeout, s.AcquireTimeout, s.Connections,
		s.TransactionConnections, s.BlockingConnections, s.ClientName, s.Logger != nil, MaxBlock, BigValue, BreakerFailures,
		BreakerWindow, ProbeInterval)
	if want := "250ms 1s 1s 250ms 4 4 8 chunkstream true 2s 65536 5 1s 500ms\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for in, want := range map[int]int{1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 256: 256} {
		if s := must[*settings](t)(Config{URL: secret.New("redis://h"), Connections: in}.settings()); s.Connections != want {
			t.Errorf("Connections %d: got %d, want %d", in, s.Connections, want)
		}
	}
	if n := reflect.TypeFor[Config]().NumField(); n != 16 {
		t.Errorf("Config has %d fields: is the new one in settings, here and documented?", n)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	c := Config{URL: secret.New("redis://u:hush@h"), Password: secret.New("hush"), SentinelPassword: secret.New("hush")}
	settled, err := c.settings()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&all, verb+verb+verb, c, &c, settled)
	}
	if got := all.String(); strings.Contains(got, "hush") || strings.Contains(strings.ToLower(got), "68757368") {
		t.Errorf("a secret printed: %s", got)
	}
}

// TestErrorsShowNoPayload: Redis quotes arguments in some errors.
func TestErrorsShowNoPayload(t *testing.T) {
	for text, want := range map[string]string{
		"unknown command 'FOO', with args beginning with: 'hush' ": "unknown command 'FOO'",
		"WRONGTYPE Operation … script: 0123, on @user_script:1.":   "WRONGTYPE Operation …",
		"unknown command `FOO`, with args beginning with: `hush`":  "unknown command `FOO`",
		strings.Repeat("x", 300):                                   strings.Repeat("x", 160),
	} {
		if got := readReply(text).err.Error(); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestClassify covers every class, how its errors come, and what they say about a repeat.
func TestClassify(t *testing.T) {
	for text, want := range map[string]fault{
		"LOADING Redis is loading the dataset in memory":             {class: ClassLoading, away: true},
		"READONLY You can't write against a read only replica.":      {class: ClassReadOnly},
		"NOREPLICAS Not enough good replicas to write.":              {class: ClassReadOnly},
		"MISCONF Redis is configured to save RDB snapshots, but …":   {class: ClassReadOnly},
		"OOM command not allowed when used memory > 'maxmemory'.":    {class: ClassFull},
		"MOVED 3999 127.0.0.1:6381":                                  {class: ClassMoved},
		"CROSSSLOT Keys in request don't hash to the same slot":      {class: ClassMoved},
		"CLUSTERDOWN The cluster is down":                            {class: ClassUnavailable, away: true},
		"MASTERDOWN Link with MASTER is down":                        {class: ClassUnavailable, away: true},
		"BUSY Redis is busy running a script.":                       {class: ClassUnavailable, away: true},
		"NOAUTH Authentication required.":                            {class: ClassAuth, away: true},
		"WRONGPASS invalid username-password pair":                   {class: ClassAuth, away: true},
		"NOPERM this user has no permissions to run the 'get' …":     {class: ClassAuth},
		"invalid password":                                           {class: ClassAuth, away: true},
		"Client sent AUTH, but no password is set":                   {class: ClassAuth, away: true},
		"WRONGTYPE Operation against a key holding the wrong kind …": {class: ClassWrongType},
		"NOGROUP No such key 'a' or consumer group 'b'":              {class: ClassNoGroup},
		"max number of clients reached":                              {class: ClassExhausted, away: true},
		"syntax error":                                               {class: ClassRefused},
		"syntax error script: 01, on @user_script:1.":                {class: ClassRefused, ran: true},
	} {
		if got := readReply(text); got.class != want.class || got.away != want.away || got.ran != want.ran || !got.redis {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
	inner := &Error{Role: "commands", Command: "GET", Class: ClassFull, SafeToRepeat: true}
	wants(t, "wrapped", fmt.Errorf("operation: %w", inner), ClassFull, true)
	wants(t, "nil", nil, "", true)
	wants(t, "ErrClosed", ErrClosed, ClassClosed, true)
	wants(t, "a role", &RoleError{}, ClassRole, true)
	wants(t, "another", errors.New("other"), ClassUnknown, false)
}

func TestQuantile(t *testing.T) {
	m := meter{errors: map[Class]int64{}}
	for range 98 {
		m.took(900 * time.Microsecond)
	}
	m.took(40 * time.Millisecond)
	m.took(time.Minute)
	s := Stats{Latency: make([]int64, len(m.latency))}
	for i := range s.Latency {
		s.Latency[i] = m.latency[i].Load()
	}
	if a, b, c := s.Quantile(0.5), s.Quantile(0.99), s.Quantile(1); a != time.Millisecond || b != 50*time.Millisecond ||
		c != 2500*time.Millisecond || (Stats{}).Quantile(0.5) != 0 || len(s.Latency) != len(LatencyBounds())+1 {
		t.Errorf("got %v %v %v", a, b, c)
	}
}
