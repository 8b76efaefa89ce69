package redisconn

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"chunkstream/secret"
)

// What a Config field that is zero stands for.
const (
	DefaultCommandTimeout         = 250 * time.Millisecond
	DefaultBigTimeout             = time.Second
	DefaultDialTimeout            = time.Second
	DefaultAcquireTimeout         = 250 * time.Millisecond
	DefaultConnections            = 4
	DefaultTransactionConnections = 4
	DefaultBlockingConnections    = 8
	DefaultClientName             = "chunkstream"
)

// What no Config changes.
const (
	MaxBlock        = 2 * time.Second        // the longest that one call of Blocking waits inside Redis
	BigValue        = 64 << 10               // bytes; a command with more arguments than this has its own connection
	BreakerFailures = 5                      // that many failures within BreakerWindow open a role's breaker
	BreakerWindow   = time.Second            //
	ProbeInterval   = 500 * time.Millisecond // how often an open breaker tries Redis, ±20 % jitter
	WatchAttempts   = 8                      // how often Transaction tries when somebody else changes a watched key
)

// Config says where Redis is and how patient each role is. The zero value lacks only URL.
type Config struct {
	// URL is one address, or several of one deployment. No default. It may carry a password, so it prints as ***.
	//
	//	redis://[user[:password]@]host[:6379][/db]        rediss:// the same over TLS
	//	unix:///path/to/socket[?db=n]                     unix://user:password@/path to log in
	//	redis+sentinel://[user[:password]@]host[:26379],host…/master[/db]     rediss+sentinel:// over TLS
	//	redis+cluster://[user[:password]@]host[:6379],host…                   rediss+cluster:// over TLS
	//
	// With Sentinel, every new connection asks the sentinels for the master and checks that it is one. With Cluster,
	// name at least two nodes: Feed listens to one of those named, and moves on when it is gone.
	URL secret.Text

	// Username is the ACL user. "" means the user of URL, else Redis's user "default".
	Username string

	// Password logs in. "" means the password of URL, else no login.
	Password secret.Text

	// Credentials, when set, is asked at every new connection instead of Username, Password and URL: a rotated
	// password is used within two seconds of its arrival here. It must not block for longer than DialTimeout.
	Credentials func(ctx context.Context) (username string, password secret.Text, err error)

	// SentinelUsername and SentinelPassword log in to the sentinels. "" means no login.
	SentinelUsername string
	SentinelPassword secret.Text

	// TLS is used with rediss:// addresses. nil means the system's roots and TLS 1.2 or newer. It is refused with an
	// address that is not rediss://.
	TLS *tls.Config

	// ClientName begins the name of every connection, as CLIENT LIST shows it: name-commands, name-big, name-blocking,
	// name-feed. "" means DefaultClientName. No spaces.
	ClientName string

	// CommandTimeout bounds each call of Commands, the wait for a new connection included. 0 means
	// DefaultCommandTimeout (250 ms). A context that ends earlier bounds it further.
	CommandTimeout time.Duration

	// BigTimeout is CommandTimeout for what goes over the connection for big values. 0 means DefaultBigTimeout (1 s).
	BigTimeout time.Duration

	// DialTimeout bounds one attempt to connect, TLS and login included, for Blocking and Feed. 0 means
	// DefaultDialTimeout (1 s). Commands connects within CommandTimeout.
	DialTimeout time.Duration

	// Connections is how many connections (per node, with Cluster) all callers of Commands share; callers do not wait
	// for one, they write their commands behind each other's. 0 means DefaultConnections (4); it is rounded up to a
	// power of two and at most 256. One more carries big values, once there is one.
	Connections int

	// TransactionConnections bounds the connections for WATCH, each held by one transaction. 0 means
	// DefaultTransactionConnections (4).
	TransactionConnections int

	// BlockingConnections bounds the connections of Blocking (per node, with Cluster), each held by one call. 0 means
	// DefaultBlockingConnections (8).
	BlockingConnections int

	// AcquireTimeout is how long a call waits for one of those bounded connections before it fails with
	// ClassExhausted. 0 means DefaultAcquireTimeout (250 ms), less than 0 means not at all.
	AcquireTimeout time.Duration

	// Logger gets one line per role and class of failure (and one of the probes) at most every ten seconds: role,
	// command, operation, attempt, latency, class, and how many lines were left out; never a key, a value or a
	// password. nil means no log.
	Logger *slog.Logger
}

// ConfigError says which field of a Config is wrong, why, and what to write instead. It never quotes a secret.
type ConfigError struct {
	Field, Problem, Fix string
}

// Error is "redisconn: Config.Field: problem: fix".
func (e *ConfigError) Error() string {
	return "redisconn: Config." + e.Field + ": " + e.Problem + ": " + e.Fix
}

type kind int

const (
	single kind = iota
	sentinel
	cluster
)

// settings is a Config with everything decided.
type settings struct {
	Config
	kind      kind
	network   string // "tcp" or "unix"
	addresses []string
	master    string // sentinel: the name of the master
	db        int
}

func (c Config) settings() (*settings, error) {
	s := &settings{Config: c}
	if err := s.parse(); err != nil {
		return nil, err
	}
	for _, d := range []struct {
		name  string
		at    *time.Duration
		value time.Duration
	}{
		{"CommandTimeout", &s.CommandTimeout, DefaultCommandTimeout},
		{"BigTimeout", &s.BigTimeout, DefaultBigTimeout},
		{"DialTimeout", &s.DialTimeout, DefaultDialTimeout},
	} {
		if *d.at < 0 {
			return nil, &ConfigError{d.name, "is negative", "0 means " + d.value.String()}
		} else if *d.at == 0 {
			*d.at = d.value
		}
	}
	if s.AcquireTimeout == 0 {
		s.AcquireTimeout = DefaultAcquireTimeout
	}
	for _, n := range []struct {
		name      string
		at        *int
		most, use int
	}{
		{"Connections", &s.Connections, 256, DefaultConnections},
		{"TransactionConnections", &s.TransactionConnections, 1024, DefaultTransactionConnections},
		{"BlockingConnections", &s.BlockingConnections, 1024, DefaultBlockingConnections},
	} {
		if *n.at < 0 || *n.at > n.most {
			return nil, &ConfigError{n.name, fmt.Sprintf("%d is not in 0–%d", *n.at, n.most),
				fmt.Sprintf("0 means %d", n.use)}
		} else if *n.at == 0 {
			*n.at = n.use
		}
	}
	s.Connections = 1 << bits.Len(uint(s.Connections-1))
	if s.ClientName == "" {
		s.ClientName = DefaultClientName
	} else if strings.ContainsFunc(s.ClientName, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, &ConfigError{"ClientName", "has a space or a character outside ASCII", "use letters and dashes"}
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// parse never quotes the URL, and not url.Parse's error either, which does.
func (s *settings) parse() error {
	bad := func(problem, fix string) error { return &ConfigError{"URL", problem, fix} }
	const forms = "write redis://host:6379/0, rediss://…, unix:///path, redis+sentinel://host,host/master or " +
		"redis+cluster://host,host"
	if s.URL.Empty() {
		return bad("is empty", forms)
	}
	scheme, rest, ok := strings.Cut(s.URL.Reveal(), "://")
	if !ok {
		return bad("has no scheme", forms)
	}
	// The last @ ends the login, so that hosts may be a list, which url.Parse does not know.
	authority, path, _ := strings.Cut(rest, "/")
	login, hosts := "", authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		login, hosts = authority[:at], authority[at+1:]
	}
	path, query, _ := strings.Cut(path, "?")
	if err := s.login(login); err != nil {
		return err
	}
	base, kindName, _ := strings.Cut(scheme, "+")
	port := "6379"
	switch {
	case scheme == "unix":
		s.network = "unix"
	case kindName == "" && (base == "redis" || base == "rediss"):
		s.network = "tcp"
	case kindName == "sentinel" && (base == "redis" || base == "rediss"):
		s.network, s.kind, port = "tcp", sentinel, "26379"
	case kindName == "cluster" && (base == "redis" || base == "rediss"):
		s.network, s.kind = "tcp", cluster
	default:
		return bad("has an unknown scheme", forms)
	}
	switch {
	case base != "rediss" && s.TLS != nil:
		return &ConfigError{"TLS", "is set but URL is not rediss://", "use rediss://, or leave TLS nil"}
	case base == "rediss" && s.TLS == nil:
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	parameters, err := url.ParseQuery(query)
	if err != nil || len(parameters) > 1 || len(parameters) == 1 && !parameters.Has("db") {
		return bad("has a parameter other than db", "remove it: everything else is a field of Config")
	}
	db := parameters.Get("db")
	switch {
	case s.network == "unix":
		if hosts != "" || path == "" {
			return bad("has no path", "write unix:///path/to/socket")
		}
		s.addresses = []string{"/" + path}
	case s.kind == sentinel:
		s.master, path, _ = strings.Cut(path, "/")
		if s.master == "" {
			return bad("names no master", "write redis+sentinel://host,host/master")
		}
		fallthrough
	default:
		if path != "" {
			db = path
		}
	}
	if s.network == "tcp" {
		if s.addresses, err = addresses(hosts, port, s.kind == single); err != nil {
			return err
		}
	}
	if db == "" {
		return nil
	}
	if s.db, err = strconv.Atoi(db); err != nil || s.db < 0 {
		return bad("has a database that is not a number", "write /0")
	}
	if s.kind == cluster && s.db != 0 {
		return bad("has a database, and Cluster has only 0", "leave it out")
	}
	return nil
}

func (s *settings) login(login string) error {
	if login == "" {
		return nil
	}
	name, word, _ := strings.Cut(login, ":")
	user, err := url.PathUnescape(name)
	if err != nil {
		return &ConfigError{"URL", "has a user with a bad %-escape", "write % as %25"}
	}
	password, err := url.PathUnescape(word)
	if err != nil {
		return &ConfigError{"URL", "has a password with a bad %-escape", "write % as %25, or use Config.Password"}
	}
	if s.Username == "" {
		s.Username = user
	}
	if s.Password.Empty() {
		s.Password = secret.New(password)
	}
	return nil
}

func addresses(hosts, port string, one bool) (all []string, err error) {
	for host := range strings.SplitSeq(hosts, ",") {
		h, p, err := net.SplitHostPort(host)
		if err != nil { // no port
			h, p = strings.Trim(host, "[]"), port
		}
		if n, err := strconv.Atoi(p); h == "" || err != nil || n < 1 || n > 65535 || strings.ContainsAny(h, " @") {
			return nil, &ConfigError{"URL", "has an empty host or a bad port", "write host or host:port"}
		}
		all = append(all, net.JoinHostPort(h, p))
	}
	if one && len(all) > 1 {
		return nil, &ConfigError{"URL", "has several hosts", "use redis+sentinel:// or redis+cluster://"}
	}
	return all, nil
}
