// Package api is the HTTP side of the service: routes, problem+json, and the OpenAPI document that describes them.
//
// Every error answer is a Problem, made in one place (problemOf). Every check that does not depend on the route is in
// ServeHTTP. Bodies of documents are streamed to the store and never held in memory, except JSON, where the text is a
// string; those are bounded together.
package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/limit"
	"chunkstream/live"
	"chunkstream/store"
	"chunkstream/webhook"
)

// The limits of one request.
const (
	MaxText    = 64 << 20 // bytes of a document's text, and of a JSON body
	MaxPreview = 1 << 20  // bytes of a preview's text

	maxEnvelope  = 256 << 10 // bytes that multipart may add around the text
	jsonInFlight = 256 << 20 // bytes of JSON bodies above jsonFree that may be in memory at once
	jsonFree     = 1 << 20   // bytes of a JSON body that are not counted
	maxWait      = 60 * time.Second
)

// Readiness is what /readyz tells.
type Readiness struct {
	OK       bool     // it can do its work; false is 503
	Degraded bool     // it can, but slower or with less
	Reasons  []string // in words, when not OK or degraded
}

// Config is what an API stands on. Every field is needed unless it says otherwise.
type Config struct {
	Store   *store.Store
	Hub     *live.Hub
	Publish func(event.Owned) // brings an event to those who watch; must not block
	// Reserve, if not nil, asks the worker of this process for a slot for an operation, which is then claimed as it is
	// created, and completed if the splitter has little to do; see worker.Reserve. take is nil when it is to be queued
	// instead.
	Reserve func(store.NewOperation, chunk.Splitter) (take *store.Take, start func(store.Created))
	// Wake tells the workers of a lane that there is work; must not block.
	Wake func(lane store.Lane, operationID string)
	Gate *auth.Gate
	// Limits is when operations are refused; the zero value never does.
	Limits Limits
	// Loopback is true when only this machine can reach the listener. With an open gate, requests for any other host
	// name are then refused, as they come from a page that a browser was led to (DNS rebinding).
	Loopback bool
	// Proxies are the addresses of proxies in front, which say in X-Forwarded-For or Forwarded whom they ask for. Nobody
	// else is believed.
	Proxies []netip.Prefix
	Version string // of the program, shown in the OpenAPI document
	Metrics *prometheus.Registry
	Ready   func(context.Context) Readiness
	// Parse makes the splitter of a strategy and settings; it is to be the same as the workers'. Default chunk.Parse.
	Parse func(strategy string, settings []byte) (chunk.Plan, error)
	// Tokens gives where each token of a text ends, in bytes, for every tokenizer that Parse takes.
	Tokens func(tokenizer, text string) ([]int, error)
	Log    *slog.Logger
	// Webhooks says which addresses may be told; it is to be the deliverer's. The zero value: https on the public Internet.
	Webhooks webhook.Policy
	// Limit bounds the requests of each owner. nil: they are not bounded.
	Limit *limit.Limiter
	// MaxStored is how many bytes of texts an owner may have, with an error of what is under way at that moment. 0: as many
	// as come.
	MaxStored int64
}

// API is the handler. Make one with New; it may serve any number of requests at once.
type API struct {
	cfg     Config
	mux     *http.ServeMux
	huma    huma.API
	origin  *http.CrossOriginProtection
	metrics *metrics
	routes  []string        // every pattern served, in order of registration
	rules   map[string]rule // by pattern

	settings  settingTypes
	plans     plans
	previews  *semaphore.Weighted // slots
	json      *semaphore.Weighted // bytes
	cache     *cache
	packers   *packers
	bodyGrace time.Duration
	admission *admission

	writeGrace time.Duration

	drain     sync.Once
	draining  chan struct{}
	openAPI   page
	documents docsAssets
	pages     pages
	errors    errorPages
}

// New builds the handler. It registers its metrics with cfg.Metrics, and it makes huma's package-wide error
// constructors answer with Problem, which is the only way huma has; it starts nothing.
func New(cfg Config) (*API, error) {
	for name, missing := range map[string]bool{
		"Store": cfg.Store == nil, "Hub": cfg.Hub == nil, "Wake": cfg.Wake == nil, "Publish": cfg.Publish == nil,
		"Gate": cfg.Gate == nil, "Metrics": cfg.Metrics == nil, "Ready": cfg.Ready == nil, "Log": cfg.Log == nil,
	} {
		if missing {
			return nil, fmt.Errorf("api: Config.%s is missing", name)
		}
	}
	if cfg.Parse == nil {
		cfg.Parse = chunk.Parse // which takes no tokenizer
	}
	a := &API{
		cfg:       cfg,
		plans:     plans{parse: cfg.Parse},
		mux:       http.NewServeMux(),
		origin:    http.NewCrossOriginProtection(),
		previews:  semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
		json:      semaphore.NewWeighted(jsonInFlight),
		cache:     newCache(),
		packers:   newPackers(),
		bodyGrace: bodyGrace, writeGrace: writeGrace,
		admission: newAdmission(cfg.Limits, cfg.Store.Load),
		draining:  make(chan struct{}),
		rules:     map[string]rule{},
	}
	var err error
	if a.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	if a.settings, err = newSettingTypes(); err != nil {
		return nil, err
	}
	a.documents = newDocsAssets()
	if a.pages, err = newPages(); err != nil {
		return nil, err
	}
	if a.errors, err = newErrorPages(); err != nil {
		return nil, err
	}
	adoptHumaErrors()
	a.huma = humago.New(patterns{a}, humaConfig(cfg.Version))
	a.register()
	if err := a.checkRules(); err != nil {
		return nil, err
	}
	a.openAPI = a.describe()
	return a, nil
}

// adoptHumaErrors makes huma build its errors with humaProblem. huma keeps these constructors in package variables.
var adoptHumaErrors = sync.OnceFunc(func() {
	huma.NewErrorWithContext = humaProblem
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(nil, status, msg, errs...)
	}
})

// patterns is the mux as huma sees it: what it registers is written down with the rest.
type patterns struct{ *API }

func (p patterns) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	p.routes = append(p.routes, pattern)
	p.mux.HandleFunc(pattern, h)
}

// Routes gives every pattern that is served, as "METHOD /path".
func (a *API) Routes() []string { return append([]string(nil), a.routes...) }

// Drain ends all waiting: requests with wait answer at once with the state as it is, now and from now on. Call it
// before http.Server.Shutdown, which waits for them. Streams are ended by live.Hub.Stop.
func (a *API) Drain() { a.drain.Do(func() { close(a.draining) }) }

// Server gives a server for the handler with the limits that a public listener needs: 5 s for a request's headers and
// 16 KiB of them, 60 s for an idle connection. Bodies and streams bound themselves, so there is no ReadTimeout and no
// WriteTimeout here.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
