package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chunkstream/secret"
	"chunkstream/servertest"
)

// works uses each role once.
func works(t *testing.T, conns *Conns) {
	t.Helper()
	recovers(t, conns)
	h := running(t, conns.Feed)
	eventually(t, 5*time.Second, "the Feed listens", h.has(1))
	if err := conns.Feed.Subscribe(t.Context(), "news"); err != nil {
		t.Fatal(err)
	}
	must[int64](t)(conns.Commands.Publish(t.Context(), "news", "1"))
	eventually(t, 5*time.Second, "the message", h.has(1, "news=1"))
	must[bool](t)(conns.Commands.Set(t.Context(), "big", strings.Repeat("x", BigValue+1), 0))
	if _, _, err := transact(t, conns.Commands); err != nil {
		t.Fatal(err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	redis(t, "--unixsocket", path, "--requirepass", "pw").more = nil
	works(t, open(t, Config{URL: secret.New("unix://:pw@" + path + "?db=2")}))
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, key := servertest.Certificate(t)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(certificate))) {
		t.Fatal("no certificate")
	}
	s := redis(t)
	port := freePort(t)
	s.kill()
	s.args = servertest.TLS(port, certificate, key)
	s.start()
	conns := open(t, Config{URL: secret.New("rediss://localhost:" + port), TLS: &tls.Config{RootCAs: pool}})
	works(t, conns)

	strangers := open(t, Config{URL: secret.New("rediss://localhost:" + port)})
	eventually(t, 5*time.Second, "a certificate that nobody vouches for is refused", func() error {
		_, err := strangers.Commands.Incr(t.Context(), "n")
		if err == nil || !strings.Contains(err.Error(), "certificate") {
			return fmt.Errorf("got %v", err)
		}
		wants(t, "a connection without trust", err, ClassUnavailable, true)
		return nil
	})
}

// TestSentinelFailover: the master dies, three sentinels make the replica the master, and every role follows by itself.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	master := redis(t)
	replica := redis(t, "--replicaof", "127.0.0.1 "+master.port)
	var sentinels []*server
	var hosts []string
	for range 3 {
		s := &server{t: t, port: freePort(t)}
		config := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 %s 2\n"+
			"sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n", s.port, master.port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.program = []string{config, "--sentinel"}
		s.start()
		t.Cleanup(s.kill)
		sentinels, hosts = append(sentinels, s), append(hosts, s.address())
	}
	eventually(t, 20*time.Second, "the sentinels know each other and the replica", func() error {
		for _, s := range sentinels {
			if out := s.do("SENTINEL", "MASTER", "main"); !strings.Contains(out, "num-slaves\n1") ||
				!strings.Contains(out, "num-other-sentinels\n2") {
				return errors.New(out)
			}
		}
		return nil
	})
	hosts = append([]string{net.JoinHostPort("127.0.0.1", freePort(t))}, hosts...) // one that is away
	conns := open(t, Config{URL: secret.New("redis+sentinel://" + strings.Join(hosts, ",") + "/main")})
	works(t, conns)
	gaps := conns.Feed.State().Gaps
	master.kill()
	sentinels[0].kill()
	eventually(t, 30*time.Second, "the replica is the master", func() error {
		out, err := replica.cli("ROLE") // it drops its clients while it changes
		if err == nil && !strings.HasPrefix(out, "master") {
			err = errors.New(out)
		}
		return err
	})
	// A sentinel may name the old master for a moment longer.
	eventually(t, 5*time.Second, "the sentinels agree", func() error {
		for _, s := range sentinels[1:] {
			if out := s.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"); !strings.Contains(out, replica.port) {
				return errors.New(out)
			}
		}
		return nil
	})
	recovers(t, conns)
	eventually(t, recovery, "the Feed follows, and says that there was a gap", func() error {
		if st := conns.Feed.State(); !st.Connected || st.Gaps == gaps {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	if n := replica.named()["chunkstream-feed"]; n != 1 {
		t.Errorf("%d connections of the Feed to the new master, want 1", n)
	}
}

// TestCluster: three nodes; keys land on all of them, a script and a transaction on one slot work, keys of two slots are
// refused, and losing a node is unavailable and not a wrong answer.
func TestCluster(t *testing.T) {
	t.Parallel()
	var nodes []*server
	var hosts []string
	for range 3 {
		s := &server{t: t, port: freePort(t)}
		s.args = []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000"}
		for s.port > "55000" || len(s.port) < 5 { // the nodes speak to each other on a port 10000 above
			s.port = freePort(t)
		}
		s.start()
		t.Cleanup(s.kill)
		nodes, hosts = append(nodes, s), append(hosts, s.address())
	}
	out, err := nodes[0].cli(append(append([]string{"--cluster", "create"}, hosts...), "--cluster-yes")...)
	if err != nil {
		t.Fatal(err, out)
	}
	for _, n := range nodes {
		eventually(t, 10*time.Second, "the cluster is whole", func() error {
			if out := n.do("CLUSTER", "INFO"); !strings.Contains(out, "cluster_state:ok") {
				return errors.New(out)
			}
			return nil
		})
	}
	conns := open(t, Config{URL: secret.New("redis+cluster://" + strings.Join(hosts, ","))})
	works(t, conns)
	c := conns.Commands
	for i := range 50 {
		must[bool](t)(c.Set(t.Context(), fmt.Sprint("key", i), "v", time.Minute))
		must[int64](t)(c.HSet(t.Context(), fmt.Sprint("hash", i), map[string]string{"a": "b"}, time.Minute))
	}
	for _, n := range nodes {
		if size := n.do("DBSIZE"); size == "0" {
			t.Errorf("node %s holds no key", n.port)
		}
	}
	if n := must[int64](t)(c.Del(t.Context(), "{a}1", "{a}2")); n != 0 {
		t.Errorf("Del: got %d", n)
	}
	_, err = c.Del(t.Context(), "a", "b", "c")
	wants(t, "keys of several slots", err, ClassMoved, true)
	_, err = c.Transaction(t.Context(), []string{"a", "b"}, nil)
	wants(t, "a transaction over several slots", err, ClassMoved, true)
	if !must[bool](t)(conns.Blocking.CreateGroup(t.Context(), "wake", "workers", "0", time.Minute)) {
		t.Error("CreateGroup: false")
	}
	if _, err := conns.Blocking.XReadGroup(t.Context(), "workers", "w", "wake", 1, time.Millisecond); err != nil {
		t.Error(err)
	}
	nodes[2].kill()
	eventually(t, 10*time.Second, "a key of the lost node is unavailable", func() error {
		for i := range 50 {
			if _, found, err := c.Get(t.Context(), fmt.Sprint("key", i)); err != nil {
				if class, safe := Classify(err); class != ClassUnavailable && class != ClassTimeout || !safe {
					t.Fatalf("got %v", err)
				}
				return nil
			} else if !found {
				t.Fatal("a lost node turned into a missing key")
			}
		}
		return errors.New("all there")
	})
	nodes[2].start()
	eventually(t, 15*time.Second, "the cluster is whole again", func() error {
		if _, err := c.Incr(t.Context(), "recovers"); err != nil {
			return err
		}
		for i := range 50 {
			if _, _, err := c.Get(t.Context(), fmt.Sprint("key", i)); err != nil {
				return err
			}
		}
		return nil
	})
}
