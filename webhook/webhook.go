// Package webhook tells other programs that operations have ended: it takes deliveries out of the store's outbox and sends
// them, signed as Standard Webhooks 1.0 says (https://www.standardwebhooks.com), at least once each.
//
// The addresses are the owners', and so nothing here trusts them: see Policy. What a receiver answers is neither kept nor
// shown, but for its status.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chunkstream/event"
	"chunkstream/store"
)

// Config is what a Deliverer stands on. Fields without a default are needed.
type Config struct {
	Store   *store.Store
	Policy  Policy
	Version string                // of the program, for the header User-Agent
	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: no log. Neither addresses nor secrets are logged
	// Timeout bounds an attempt, from the look-up of the name to the head of the answer. 0 means 10 s. A process that
	// dies in an attempt keeps the delivery from the others for twice as long.
	Timeout time.Duration
	// Poll is how often the outbox is looked at. 0 means a second; Wake lets it be looked at sooner.
	Poll time.Duration
	// Lookup finds the addresses of a name. nil: the resolver of the machine.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// TLS is how receivers' certificates are checked. nil: with the authorities of the machine.
	TLS *tls.Config
}

// How many attempts are under way at once in a process, in all and of one owner: one whose receiver hangs does not hold up
// the others.
const (
	slots      = 16
	ownerSlots = 4
)

// Deliverer sends deliveries. Make one with New; run it once, in any number of processes.
type Deliverer struct {
	cfg    Config
	client *http.Client
	wake   chan struct{}

	attempts *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// New gives a Deliverer and starts nothing. It registers its metrics with cfg.Metrics.
func New(cfg Config) (*Deliverer, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	if cfg.Store == nil || cfg.Timeout < 0 || cfg.Poll < 0 {
		return nil, fmt.Errorf("webhook: Config.Store is missing, or Timeout %v or Poll %v is negative", cfg.Timeout, cfg.Poll)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Lookup == nil {
		cfg.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	dial := &dialer{cfg.Policy, cfg.Lookup, new(net.Dialer).DialContext}
	d := &Deliverer{
		cfg: cfg, wake: make(chan struct{}, 1),
		client: &http.Client{
			// Another address would be one that the owner did not give.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy: nil, DialContext: dial.DialContext, TLSClientConfig: cfg.TLS, DisableKeepAlives: true, DisableCompression: true,
				MaxResponseHeaderBytes: 16 << 10,
			},
		},
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chunkstream_webhook_attempts_total", Help: "Attempts of this process to deliver to webhooks, by what came of them: delivered, retried or dead.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "chunkstream_webhook_attempt_duration_seconds", Help: "Time of an attempt to deliver to a webhook.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	if cfg.Metrics != nil {
		for _, c := range []prometheus.Collector{d.attempts, d.seconds} {
			if err := cfg.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("webhook: register metrics: %w", err)
			}
		}
	}
	for _, outcome := range []string{"delivered", "retried", "dead"} {
		d.attempts.WithLabelValues(outcome)
	}
	return d, nil
}

// Wake lets the outbox be looked at soon. It does not block.
func (d *Deliverer) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// pause is how long there is at least between two looks that find nothing, however often Wake is called. settle is how
// long a look waits after a Wake: whoever waits for that very end by socket shall not wait for the look.
const (
	pause  = 50 * time.Millisecond
	settle = 10 * time.Millisecond
)

// Run sends deliveries until ctx ends; then what is under way is given back, to be tried by another process. It returns nil
// when all of it has ended.
func (d *Deliverer) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ended := make(chan string, slots)
	owners, busy := map[string]int{}, 0
	for ctx.Err() == nil {
		found := false
		if busy < slots {
			var full []string
			for owner, n := range owners {
				if n >= ownerSlots {
					full = append(full, owner)
				}
			}
			a, err := d.cfg.Store.ClaimDelivery(ctx, 2*d.cfg.Timeout, full)
			if err != nil && ctx.Err() == nil {
				d.cfg.Log.Warn("the outbox of webhooks cannot be read; it is tried again", "error", err)
			}
			if found = a != nil; found {
				busy++
				owners[a.Owner]++
				running.Go(func() {
					d.attempt(ctx, a)
					ended <- a.Owner
				})
			}
		}
		if found {
			continue
		}
		again, wake := time.NewTimer(d.cfg.Poll), d.wake
		soonest := time.Now().Add(pause)
		if busy == slots {
			wake = nil // there is no room anyway
		}
		select {
		case <-ctx.Done():
		case owner := <-ended:
			busy--
			if owners[owner]--; owners[owner] == 0 {
				delete(owners, owner)
			}
		case <-again.C:
		case <-wake:
			look := time.NewTimer(max(time.Until(soonest), settle))
			select {
			case <-ctx.Done():
			case <-look.C:
			}
			look.Stop()
		}
		again.Stop()
	}
	return nil
}

// Message is the body of a delivery (Standard Webhooks 1.0, "Payload structure"). It is the same at every attempt.
type Message struct {
	Type      string      `json:"type" enum:"operation.completed,operation.failed,operation.cancelled"`
	Timestamp event.Time  `json:"timestamp" doc:"When the operation ended"`
	Data      MessageData `json:"data"`
}

// MessageData says which operation it is and how it ended.
type MessageData struct {
	OperationID string      `json:"operation_id"`
	DocumentID  string      `json:"document_id"`
	Name        string      `json:"name"`
	Strategy    string      `json:"strategy"`
	Event       event.Event `json:"event" doc:"The last event of the operation"`
}

// attempt makes one attempt and writes down what came of it. That is done also when ctx has ended meanwhile.
func (d *Deliverer) attempt(ctx context.Context, a *store.Attempt) {
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	status, err := d.send(within, a)
	cancel()
	out := store.Outcome{Status: status}
	switch {
	case err == nil && status >= 200 && status < 300:
		out.Delivered = true
	case ctx.Err() != nil && err != nil:
		out.Error = "the service was stopped" // and another process may go on at once
	default:
		out.Error, out.RetryIn = why(status, err), backoff(a.Number)
		out.Dead = status == http.StatusGone // the receiver wants no more of it
	}
	d.seconds.Observe(time.Since(began).Seconds())
	// Once the request is out, what came of it is worth a moment even when everything stops.
	record, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	state, err := d.cfg.Store.EndDelivery(record, a, out)
	if err != nil {
		if !errors.Is(err, store.ErrFenced) {
			d.cfg.Log.Warn("what came of a delivery could not be written down; it is made again", "delivery", a.ID, "error", err)
		}
		return
	}
	outcome := map[store.DeliveryState]string{store.DeliveryDelivered: "delivered", store.DeliveryDead: "dead", store.DeliveryPending: "retried"}[state]
	d.attempts.WithLabelValues(outcome).Inc()
	if state != store.DeliveryDelivered {
		d.cfg.Log.Info("delivery failed", "delivery", a.ID, "attempt", a.Number, "state", string(state), "problem", out.Error)
	}
}

// send posts the message and gives the status of the answer, of which nothing else is read.
func (d *Deliverer) send(ctx context.Context, a *store.Attempt) (int, error) {
	if err := d.cfg.Policy.CheckURL(a.URL); err != nil {
		return 0, err // what is allowed may have changed since
	}
	body, err := json.Marshal(Message{
		Type: "operation." + string(a.Event.Type), Timestamp: a.Event.Time,
		Data: MessageData{a.Event.OperationID, a.DocumentID, a.Name, a.Strategy, a.Event},
	})
	if err != nil {
		return 0, err
	}
	now := time.Now()
	signature, err := Sign(a.Secrets, a.ID, now, body)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL, bytes.NewReader(body))
	if err != nil {
		return 0, &RefusedError{"the address cannot be read"}
	}
	h := r.Header
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "chunkstream/"+d.cfg.Version)
	h.Set("Webhook-Id", a.ID)
	h.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	h.Set("Webhook-Signature", signature)
	res, err := d.client.Do(r)
	if err != nil {
		return 0, err
	}
	_ = res.Body.Close() // nothing of it is wanted
	return res.StatusCode, nil
}

// why says in a few words why an attempt failed, without what a stranger could learn a network's inside from.
func why(status int, err error) string {
	var (
		refused *RefusedError
		cert    *tls.CertificateVerificationError
		name    *net.DNSError
		timeout net.Error
	)
	switch {
	case err == nil && status >= 300 && status < 400:
		return "redirects are not followed"
	case err == nil:
		return "the receiver answered " + strconv.Itoa(status)
	case errors.As(err, &refused):
		return "refused: the address is not allowed"
	case errors.As(err, &cert):
		return "the receiver's certificate is not valid"
	case errors.As(err, &name):
		return "the host name cannot be found"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "the receiver did not answer in time"
	}
	return "the receiver cannot be reached"
}

// steps are the pauses before attempts 2, 3, …; the last one repeats. They come to more than store.DeliverFor.
var steps = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}

// backoff gives the pause after an attempt, a fifth more or less by chance, so that many do not come back together.
func backoff(attempt int64) time.Duration {
	step := steps[min(max(attempt, 1), int64(len(steps)))-1]
	return step*4/5 + rand.N(step*2/5)
}
