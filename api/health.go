package api

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"chunkstream/chunk"
)

// Health is the answer of /healthz and /readyz.
type Health struct {
	Status  string   `json:"status" enum:"ok,ready,degraded,unavailable"`
	Reasons []string `json:"reasons" doc:"Why it is not simply ready"`
}

type healthOutput struct {
	Status int
	Body   Health
}

// healthz says that the process answers; nothing else is looked at, so that nothing else gets it restarted.
func (a *API) healthz(context.Context, *struct{}) (*healthOutput, error) {
	return &healthOutput{http.StatusOK, Health{"ok", []string{}}}, nil
}

func (a *API) readyz(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	now := a.cfg.Ready(ctx)
	out := &healthOutput{http.StatusOK, Health{"ready", append([]string{}, now.Reasons...)}}
	select {
	case <-a.draining:
		now.OK = false
		out.Body.Reasons = append(out.Body.Reasons, "stopping")
	default:
	}
	switch {
	case !now.OK:
		out.Status, out.Body.Status = http.StatusServiceUnavailable, "unavailable"
	case now.Degraded:
		out.Body.Status = "degraded"
	}
	return out, nil
}

func (a *API) prometheus() handler {
	h := promhttp.HandlerFor(a.cfg.Metrics, promhttp.HandlerOpts{DisableCompression: true})
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// Strategy describes one strategy to people and to programs that build forms.
type Strategy struct {
	Name     string   `json:"name" example:"recursive"`
	Aliases  []string `json:"aliases"`
	Summary  string   `json:"summary"`
	Defaults object   `json:"defaults" doc:"The config that an empty one stands for"`
	Schema   object   `json:"schema" doc:"JSON Schema of its config"`
}

// StrategyList is the answer of GET /v1/strategies, the default strategy first.
type StrategyList struct {
	Data []Strategy `json:"data"`
}

type strategiesOutput struct {
	Body StrategyList
}

func (a *API) strategies(context.Context, *struct{}) (*strategiesOutput, error) {
	out := &strategiesOutput{StrategyList{[]Strategy{}}}
	for _, s := range chunk.Strategies() {
		out.Body.Data = append(out.Body.Data, Strategy{
			Name: s.Name, Aliases: append([]string{}, s.Aliases...), Summary: s.Summary,
			Defaults: object(s.Defaults), Schema: object(s.Schema),
		})
	}
	return out, nil
}
