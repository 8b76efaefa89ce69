package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"chunkstream/servertest"
)

// machines are network namespaces of this machine, each with an address of its own on one bridge, so that each can be cut
// off from all others by taking its end of the wire away. It needs root and the program ip.
type machines struct {
	c      *chaos
	id     string
	subnet string
	all    map[string]string // name → address
}

func newMachines(c *chaos) (*machines, error) {
	pid := os.Getpid()
	m := &machines{c: c, id: fmt.Sprintf("cs%d", pid), subnet: fmt.Sprintf("10.%d.%d.", 100+pid/250%100, pid%250), all: map[string]string{}}
	if err := m.ip("link add " + m.id + " type bridge"); err != nil {
		return nil, fmt.Errorf("%w: --machines needs root, and the program ip (apt-get install iproute2)", err)
	}
	c.host.Cleanup(func() {
		for name := range m.all {
			_ = m.ip("netns del " + m.namespace(name)) // its end of the wire goes with it
		}
		if err := m.ip("link del " + m.id); err != nil {
			c.violate("%v", err)
		}
	})
	return m, errors.Join(m.ip("addr add "+m.here()+"/24 dev "+m.id), m.ip("addr add "+m.database()+"/24 dev "+m.id),
		m.ip("link set "+m.id+" up"))
}

// ip runs the program of that name.
func (m *machines) ip(words string) error {
	if out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", words, err, out)
	}
	return nil
}

// here is the address of what runs outside all machines.
func (m *machines) here() string { return m.subnet + "1" }

// database is the address at which Postgres is found: none but it.
func (m *machines) database() string { return m.subnet + "2" }

func (m *machines) namespace(name string) string { return m.id + name }

// wire is the end of a machine's wire at the bridge.
func (m *machines) wire(name string) string {
	return m.id + "." + m.all[name][strings.LastIndexByte(m.all[name], '.')+1:]
}

// add makes a machine and gives its address.
func (m *machines) add(name string) (string, error) {
	address := m.subnet + strconv.Itoa(10+len(m.all))
	m.all[name] = address
	ns, wire := m.namespace(name), m.wire(name)
	return address, errors.Join(
		m.ip("netns add "+ns),
		m.ip("link add "+wire+" type veth peer name eth0 netns "+ns),
		m.ip("link set "+wire+" master "+m.id+" up"),
		m.ip("-n "+ns+" addr add "+address+"/24 dev eth0"),
		m.ip("-n "+ns+" link set eth0 up"),
		m.ip("-n "+ns+" link set lo up"))
}

// run is a command on a machine. The program ip becomes the command's: signals go to it.
func (m *machines) run(name, program string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", m.namespace(name), program}, args...)...)
}

// cut takes a machine off the network, or puts it back. A wire that is back is seen to carry something: what its machine does not
// hear for longer is not to be this host's own fault.
func (m *machines) cut(name string, off bool) {
	if off {
		m.wireIs(name, "down")
		return
	}
	m.wireIs(name, "up")
	for tries := 0; !m.reaches(name); tries++ {
		m.c.note(map[string]any{"dead wire": name, "state": m.state(name)})
		if tries == 3 {
			m.c.violate("%s: its wire is up and carries nothing: %s", name, m.state(name))
			return
		}
		m.wireIs(name, "down")
		m.wireIs(name, "up")
	}
}

func (m *machines) wireIs(name, state string) {
	if err := m.ip("link set " + m.wire(name) + " " + state); err != nil {
		m.c.violate("%v", err)
	}
}

// network is the state of a process's own network, if it has one.
func (c *chaos) network(p *process) string {
	if c.machines == nil {
		return ""
	}
	return "; " + c.machines.state(p.name)
}

// reaches says whether a machine answers within some seconds: it has a system that refuses connections, whatever runs on it.
func (m *machines) reaches(name string) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(m.all[name], "9"), time.Second) // discard: nobody listens there
		if err == nil {
			_ = conn.Close()
		}
		if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			return true
		}
	}
	return false
}

// state is what the system says of a machine's network, from both ends of its wire.
func (m *machines) state(name string) string {
	var all strings.Builder
	ns := "-n " + m.namespace(name) + " "
	for _, words := range []string{"-s link show " + m.wire(name), "neigh show dev " + m.id, ns + "-s link show eth0", ns + "addr show eth0", ns + "route", ns + "neigh"} {
		out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
		fmt.Fprintf(&all, "ip %s:\n%s", words, out)
		if err != nil {
			fmt.Fprintf(&all, "%v\n", err)
		}
	}
	return all.String()
}

// forbid lets a machine send nothing to some addresses, or lets it again: what it sends is lost without a word on connections
// that there are, and others are refused.
func (m *machines) forbid(name string, off bool, addresses ...string) {
	verb := "del"
	if off {
		verb = "add"
	}
	for _, a := range addresses {
		if err := m.ip("-n " + m.namespace(name) + " route " + verb + " blackhole " + a + "/32"); err != nil {
			m.c.violate("%v", err)
		}
	}
}

// cutRedis takes Redis and its sentinels from a process, which keeps the database. It goes on, and says so.
func (c *chaos) cutRedis(ctx context.Context, p *process, f fault) outcome {
	defer c.hold(p)()
	var addresses []string
	for _, name := range []string{"redis1", "redis2", "watch"} {
		addresses = append(addresses, c.machines.all[name])
	}
	is := func(wanted string) func() bool {
		return func() bool { s, _, err := p.readiness(ctx); return err == nil && s == wanted }
	}
	c.times.begin(aFreeze+p.name, time.Now())
	c.machines.forbid(p.name, true, addresses...)
	felt := waits(ctx, is("degraded"))
	pause(ctx, c.cfg.lease+f.holds)
	c.machines.forbid(p.name, false, addresses...)
	waits(ctx, is("ready")) // what is measured of the others' recovery is not to have this one's in it
	return outcome{felt, "it said degraded"}
}

// cutOff cuts a process's machine off, from everything or from the database alone, for longer than the process's lease. What a
// worker held must change hands meanwhile; it goes on working, into the void, and is put back at that moment or later. A web
// process must be silent, as that word is meant.
func (c *chaos) cutOff(ctx context.Context, p *process, f fault, cut func(off bool), silent func() bool, from string) outcome {
	defer c.hold(p)()
	back := func() { cut(false) }
	if !p.works {
		c.times.begin(aFreeze+p.name, time.Now())
		cut(true)
		defer back()
		pause(ctx, c.cfg.lease+f.holds)
		return outcome{waits(ctx, silent), "it did not answer, or not well, while it was cut off " + from}
	}
	var held map[string]int64
	for end := time.Now().Add(c.cfg.patience / 4); len(held) == 0 && time.Now().Before(end); {
		if !pause(ctx, glance) {
			return outcome{}
		}
		if !c.seemsToHold(ctx, p.worker()) {
			continue
		}
		c.times.begin(aFreeze+p.name, time.Now())
		cut(true)
		var err error
		if held, err = c.holds(ctx, p.worker()); err != nil || len(held) == 0 {
			held = nil
			back()
			pause(ctx, 20*time.Millisecond)
		}
	}
	if len(held) == 0 {
		return outcome{how: "it held nothing"}
	}
	defer back()
	id := ""
	for limit := time.Now().Add(c.cfg.lease + 15*time.Second); id == "" && time.Now().Before(limit); {
		if !pause(ctx, glance) {
			return outcome{}
		}
		id = c.moved(ctx, held)
	}
	if id == "" {
		return outcome{how: "nobody took what it held"}
	}
	if f.n > 4 { // half of the times it is back at the very moment
		pause(ctx, f.holds)
	}
	return outcome{true, fmt.Sprintf("cut off %s with %d operations; %s changed hands", from, len(held), id)}
}

// sentinels are a master of Redis, a replica of it, and three programs that watch them and choose the master.
type sentinels struct {
	c     *chaos
	nodes []*node // the first two are Redis
}

// node is one of these programs.
type node struct {
	machine string // "" is this one
	address string
	program string
	args    []string
	cmd     *exec.Cmd
}

// deadAfter is how long a master is silent before it is taken for dead.
const deadAfter = time.Second

func startSentinels(ctx context.Context, c *chaos) (*sentinels, error) {
	s := &sentinels{c: c}
	for i, name := range []string{"redis1", "redis2", "sentinel1", "sentinel2", "sentinel3"} {
		n := &node{address: servertest.FreeAddress(c.host), program: "redis-server"}
		host, port, _ := net.SplitHostPort(n.address)
		if c.machines != nil {
			n.machine = []string{"redis1", "redis2", "redis1", "redis2", "watch"}[i]
			if c.machines.all[n.machine] == "" {
				if _, err := c.machines.add(n.machine); err != nil {
					return nil, err
				}
			}
			host = c.machines.all[n.machine]
			n.address = net.JoinHostPort(host, port)
		}
		dir := filepath.Join(c.cfg.folder, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		master, masterPort, _ := net.SplitHostPort(n.address)
		if i > 0 {
			master, masterPort, _ = net.SplitHostPort(s.nodes[0].address)
		}
		config := fmt.Sprintf("port %s\nbind %s\ndir %s\nlogfile %s.log\nprotected-mode no\n", port, host, dir, dir)
		switch {
		case i < 2:
			config += "save \"\"\nrepl-diskless-sync-delay 0\nrepl-timeout 5\n"
			if i == 1 {
				config += fmt.Sprintf("replicaof %s %s\n", master, masterPort)
			}
		default:
			config += fmt.Sprintf("sentinel monitor main %s %s 2\nsentinel down-after-milliseconds main %d\nsentinel failover-timeout main 3000\n",
				master, masterPort, deadAfter.Milliseconds())
			n.args = []string{"--sentinel"}
		}
		path := filepath.Join(dir, "redis.conf") // they write into it what they learn
		if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
			return nil, err
		}
		n.args = append([]string{path}, n.args...)
		s.nodes = append(s.nodes, n)
		c.host.Cleanup(func() { n.end() })
		if err := s.start(n); err != nil {
			return nil, err
		}
	}
	for end := time.Now().Add(30 * time.Second); !s.whole(); {
		if time.Now().After(end) {
			return nil, errors.New("the sentinels did not find each other")
		}
		if !pause(ctx, 20*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
	return s, nil
}

func (s *sentinels) start(n *node) error {
	n.cmd = exec.Command(n.program, n.args...)
	if n.machine != "" {
		n.cmd = s.c.machines.run(n.machine, n.program, n.args...)
	}
	return n.cmd.Start()
}

func (n *node) end() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may have ended
	_ = n.cmd.Wait()
	n.cmd = nil
}

// do asks a node.
func (n *node) do(words ...string) (string, error) {
	return (&servertest.Redis{Address: n.address}).Do(words...)
}

// master is the Redis that says that it is one with a replica that follows, or nil.
func (s *sentinels) master() *node {
	for _, n := range s.nodes[:2] {
		answer, err := n.do("EVAL", `local i = redis.call('INFO', 'replication')
if string.match(i, 'role:master') and string.match(i, 'state=online') then return 1 end return 0`, "0")
		if err == nil && answer == ":1" {
			return n
		}
	}
	return nil
}

// whole reports whether there is a master with a replica, every sentinel names it, and knows of all others.
func (s *sentinels) whole() bool {
	m := s.master()
	if m == nil {
		return false
	}
	for _, n := range s.nodes[2:] {
		if answer, err := n.do("SENTINEL", "CKQUORUM", "main"); err != nil || !strings.HasPrefix(answer, "+OK 3 ") {
			return false
		}
		if named, err := s.named(n); err != nil || named != m.address {
			return false
		}
	}
	return true
}

// named is the master as a sentinel names it.
func (s *sentinels) named(n *node) (string, error) {
	conn, err := net.DialTimeout("tcp", n.address, time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("SENTINEL GET-MASTER-ADDR-BY-NAME main\r\n")); err != nil {
		return "", err
	}
	buf := make([]byte, 200)
	at, err := conn.Read(buf)
	words := strings.Fields(string(buf[:at])) // *2 $n host $n port
	if err != nil || len(words) != 5 {
		return "", fmt.Errorf("%q, %w", buf[:at], err)
	}
	return net.JoinHostPort(words[2], words[4]), nil
}

// url is where the product finds the master.
func (s *sentinels) url() string {
	var hosts []string
	for _, n := range s.nodes[2:] {
		hosts = append(hosts, n.address)
	}
	return "redis+sentinel://" + strings.Join(hosts, ",") + "/main"
}

// failover has the master die, freeze or be cut off until the sentinels have made the other one the master, and mends it.
func (c *chaos) failover(ctx context.Context, f fault) outcome {
	s := c.sentinels
	if !waits(ctx, s.whole) {
		return outcome{how: "the former failover is not over"}
	}
	old := s.master()
	if old == nil {
		return outcome{how: "there is no master"}
	}
	other := s.nodes[0]
	if other == old {
		other = s.nodes[1]
	}
	mend := func() {}
	switch f.kind {
	case "redis-failover-kill":
		old.end()
		mend = func() {
			if err := s.start(old); err != nil {
				c.violate("%v", err)
			}
		}
	case "redis-failover-freeze":
		if err := old.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			return outcome{how: err.Error()}
		}
		mend = func() { _ = old.cmd.Process.Signal(syscall.SIGCONT) }
	case "redis-failover-cut":
		c.machines.cut(old.machine, true)
		mend = func() { c.machines.cut(old.machine, false) }
	}
	turned := false
	for end := time.Now().Add(c.cfg.patience); !turned && time.Now().Before(end) && pause(ctx, 20*time.Millisecond); {
		turned = isMaster(other)
	}
	pause(ctx, f.holds)
	mend()
	c.redis = &servertest.Redis{Address: other.address}
	for end := time.Now().Add(c.cfg.patience); turned && !s.whole(); {
		if time.Now().After(end) {
			c.violate("%s: the sentinels do not come to rest", f.kind)
			break
		}
		if !pause(ctx, 20*time.Millisecond) {
			break
		}
	}
	return outcome{turned, "the master is now at " + other.address}
}

func isMaster(n *node) bool {
	answer, err := n.do("EVAL", `return string.match(redis.call('INFO', 'replication'), 'role:master') and 1 or 0`, "0")
	return err == nil && answer == ":1"
}
