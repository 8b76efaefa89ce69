package redisconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"chunkstream/secret"
)

// link is one driver client and the connections it has dialled. A role replaces its link when the link's connections
// are not to be trusted any more: the driver matches replies to commands by order alone, and learns that a peer is
// silent later than the breaker does.
type link struct {
	client rueidis.Client
	calls  sync.WaitGroup // Add only while the link is its role's current one, under the role's mutex
	live   atomic.Bool    // dials only from then on

	mu    sync.Mutex
	cut   bool
	conns map[*countedConn]struct{}
}

// errNotYet is what the driver's eager first dial gets, so that making a client costs no connection and no time.
var errNotYet = errors.New("not yet")

// shape is what differs between the clients of the roles.
type shape struct {
	name    string        // of its connections
	timeout time.Duration // for dialling, login included
	silence time.Duration // a connection with commands outstanding and no reply is given up after 1 s plus this
	buffer  int           // bytes, each way
	share   int           // connections shared by all callers, a power of two
	pool    int           // connections held by one caller each
	oneNode bool          // with Cluster, any one of the nodes named will do
	long    bool          // calls last long: those on a connection that is not to be trusted are ended
}

// connect makes a link. Only with Cluster does it touch the network, for at most a few timeouts.
func (r *role) connect(sh shape) (*link, error) {
	l := &link{conns: map[*countedConn]struct{}{}}
	option := rueidis.ClientOption{
		InitAddress: []string{"redis"}, // one name for whatever the dialler finds
		ClientName:  sh.name,
		SelectDB:    r.db,
		Dialer:      net.Dialer{Timeout: sh.timeout, KeepAlive: time.Second},
		DialCtxFn: func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return r.dial(ctx, l, address, d)
		},
		AuthCredentialsFn: r.credentials,
		ConnWriteTimeout:  sh.silence,

		ReadBufferEachConn: sh.buffer, WriteBufferEachConn: sh.buffer,
		PipelineMultiplex: multiplex(sh.share),
		BlockingPoolSize:  sh.pool, BlockingPoolCleanup: 30 * time.Second,
		// A call then always waits beside its connection: its context ends the call, not the connection.
		AlwaysPipelining:  true,
		ForceSingleClient: true, DisableRetry: true, DisableCache: true,
		ClientSetInfo: rueidis.DisableClientSetInfo,
	}
	whole := r.kind == cluster && !sh.oneNode
	if whole {
		option.ForceSingleClient = false
		option.InitAddress = r.addresses
		option.ClusterOption = rueidis.ClusterOption{ShardsRefreshInterval: 5 * time.Second, MaxMovedRedirections: 3}
		l.live.Store(true)
	}
	client, err := rueidis.NewClient(option)
	if !whole {
		err = nil // errNotYet
	}
	if err != nil {
		l.close()
		if client != nil {
			client.Close()
		}
		return nil, err
	}
	l.live.Store(true)
	l.client = client
	return l, nil
}

// multiplex is the driver's way to say how many connections are shared: their power of two, but 0 is its own choice.
func multiplex(share int) int {
	if share == 1 {
		return -1
	}
	return bits.TrailingZeros(uint(share))
}

func (l *link) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// close ends the connections first: a client waits for replies when it closes, and nobody else does any more. The
// driver's Cluster client may still sleep for up to a second, and then finds that it can no longer dial.
func (l *link) close() {
	l.mu.Lock()
	l.cut = true
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
		c.gone()
	}
	if l.client != nil {
		l.client.Close()
	}
}

// countedConn is a connection that its link knows of.
type countedConn struct {
	net.Conn
	link *link
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	c.gone()
	return c.Conn.Close()
}

func (c *countedConn) gone() { c.once.Do(func() { c.open.Add(-1) }) }

func (r *role) credentials(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
	user, password, err := r.login(r.ctx)
	return rueidis.AuthCredentials{Username: user, Password: password.Reveal()}, err
}

func (r *role) login(ctx context.Context) (user string, password secret.Text, err error) {
	if r.Credentials == nil {
		return r.Username, r.Password, nil
	}
	if user, password, err = r.Credentials(ctx); err != nil {
		err = &dialError{fmt.Errorf("asking for credentials: %w", err)}
	}
	return user, password, err
}

func (r *role) dial(ctx context.Context, l *link, address string, d *net.Dialer) (net.Conn, error) {
	if !l.live.Load() {
		return nil, &dialError{errNotYet}
	} else if l.ended() {
		return nil, &dialError{rueidis.ErrClosing}
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	r.meter.dials.Add(1)
	conn, err := r.reach(ctx, address, d)
	if err != nil {
		r.meter.dialErrors.Add(1)
		return nil, &dialError{err}
	}
	c := &countedConn{Conn: conn, link: l, open: &r.meter.open}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		_ = conn.Close()
		return nil, &dialError{rueidis.ErrClosing}
	}
	l.conns[c] = struct{}{}
	r.meter.open.Add(1)
	return c, nil
}

func (r *role) reach(ctx context.Context, address string, d *net.Dialer) (net.Conn, error) {
	switch {
	case r.kind == sentinel:
		return r.reachMaster(ctx, d)
	case r.kind == cluster && address == "redis": // Feed: any node hears everything
		n := r.turn.Add(1) - 1
		address = r.addresses[n%uint64(len(r.addresses))]
	case r.kind == single:
		address = r.addresses[0]
	}
	return r.open(ctx, address, d)
}

func (r *role) open(ctx context.Context, address string, d *net.Dialer) (net.Conn, error) {
	conn, err := d.DialContext(ctx, r.network, address)
	if err != nil || r.TLS == nil {
		return conn, err
	}
	config := r.TLS
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// reachMaster asks one sentinel after the other for the master and checks that what it names is one: during a failover
// a sentinel may still name the old one. The driver's own Sentinel client is not used: it works in the background
// without end or deadline, and keeps two more connections for each role.
func (r *role) reachMaster(ctx context.Context, d *net.Dialer) (net.Conn, error) {
	var errs []error
	first := int(r.turn.Load())
	for i := range r.addresses {
		at := (first + i) % len(r.addresses)
		address, err := r.askSentinel(ctx, r.addresses[at], d)
		if err != nil {
			errs = append(errs, fmt.Errorf("sentinel: %w", err))
			continue
		}
		conn, err := r.open(ctx, address, d)
		if err == nil {
			if err = r.checkMaster(ctx, conn); err == nil {
				r.turn.Store(uint64(at))
				return conn, nil
			}
			_ = conn.Close()
		}
		errs = append(errs, fmt.Errorf("the master that a sentinel names: %w", err))
	}
	return nil, errors.Join(errs...)
}

func (r *role) askSentinel(ctx context.Context, address string, d *net.Dialer) (master string, err error) {
	// A sentinel that is silent must leave time for the others.
	patience, cancel := context.WithTimeout(ctx, d.Timeout/time.Duration(len(r.addresses)+1))
	defer cancel()
	conn, err := r.open(patience, address, d)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	w := newWords(patience, conn)
	if err := w.auth(r.SentinelUsername, r.SentinelPassword); err != nil {
		return "", err
	}
	reply, err := w.ask("SENTINEL", "get-master-addr-by-name", r.master)
	if err != nil {
		return "", err
	} else if len(reply) != 2 {
		return "", errors.New("it knows no master of that name")
	}
	return net.JoinHostPort(reply[0], reply[1]), nil
}

func (r *role) checkMaster(ctx context.Context, conn net.Conn) error {
	user, password, err := r.login(ctx)
	if err != nil {
		return err
	}
	w := newWords(ctx, conn)
	if err := w.auth(user, password); err != nil {
		return nil // the driver logs in again and reports it better
	}
	reply, err := w.ask("ROLE")
	var refused replyError
	if errors.As(err, &refused) {
		return nil // no right to ask: a write will tell
	} else if err != nil {
		return err
	} else if len(reply) == 0 || reply[0] != "master" {
		return errors.New("it is not a master")
	}
	return conn.SetDeadline(time.Time{})
}

// words is as much of Redis's protocol as finding a master needs: one command, and the texts of its reply.
type words struct {
	conn net.Conn
	r    *bufio.Reader
}

type replyError string

func (e replyError) Error() string { return shown(string(e)) }

func newWords(ctx context.Context, conn net.Conn) *words {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return &words{conn, bufio.NewReader(conn)}
}

func (w *words) auth(user string, password secret.Text) error {
	var err error
	switch {
	case user != "":
		_, err = w.ask("AUTH", user, password.Reveal())
	case !password.Empty():
		_, err = w.ask("AUTH", password.Reveal())
	}
	return err
}

func (w *words) ask(command ...string) ([]string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(w.conn, b.String()); err != nil {
		return nil, err
	}
	return w.reply(nil, 0)
}

func (w *words) reply(all []string, depth int) ([]string, error) {
	line, err := w.r.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err != nil || line == "" {
		return nil, errors.Join(err, errors.New("no reply"))
	}
	n, numberErr := strconv.Atoi(line[1:])
	switch line[0] {
	case '+', ':':
		return append(all, line[1:]), nil
	case '-':
		return nil, replyError(line[1:])
	case '$':
		if numberErr != nil || n > BigValue {
			return nil, errors.New("not a reply")
		} else if n < 0 {
			return all, nil
		}
		text := make([]byte, n+2)
		if _, err := io.ReadFull(w.r, text); err != nil {
			return nil, err
		}
		return append(all, string(text[:n])), nil
	case '*':
		if numberErr != nil || n > 1000 || depth > 3 {
			return nil, errors.New("not a reply")
		}
		for range n {
			if all, err = w.reply(all, depth+1); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	return nil, errors.New("not a reply")
}
