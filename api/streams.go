package api

import (
	"errors"
	"net/http"
	"strings"

	"chunkstream/live"
)

// stream guards one of the hub's four streams: the operation, if the path names one, must be the caller's.
func (a *API) stream(socket bool, serve func(w http.ResponseWriter, r *http.Request, op string) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if socket {
			if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
				return problem("upgrade_required", "Upgrade",
					"this is a WebSocket (RFC 6455); the same events come as SSE from …/events")
			}
			if err := sameOrigin(r); err != nil {
				return err
			}
		}
		id := r.PathValue("id")
		if id != "" {
			if _, err := a.operation(r.Context(), id); err != nil {
				return err
			}
		}
		if rec, ok := w.(*recorder); ok {
			rec.streams = true // the hub gives every write its own deadline
		}
		return streamError(serve(w, r, id))
	}
}

func (a *API) operationEvents(w http.ResponseWriter, r *http.Request, id string) error {
	since, resume, err := live.ParseSince(r)
	if err != nil {
		return err
	}
	return a.cfg.Hub.ServeOperationSSE(w, r, owner(r.Context()), id, since, resume)
}

func (a *API) operationSocket(w http.ResponseWriter, r *http.Request, id string) error {
	since, resume, err := live.ParseSince(r)
	if err != nil {
		return err
	}
	return a.cfg.Hub.ServeOperationWS(w, r, owner(r.Context()), id, since, resume)
}

func (a *API) allEvents(w http.ResponseWriter, r *http.Request, _ string) error {
	return a.cfg.Hub.ServeAllSSE(w, r, owner(r.Context()))
}

func (a *API) allSocket(w http.ResponseWriter, r *http.Request, _ string) error {
	return a.cfg.Hub.ServeAllWS(w, r, owner(r.Context()))
}

// streamError says what the hub refused.
func streamError(err error) error {
	var (
		since     *live.SinceError
		handshake *live.HandshakeError
	)
	switch {
	case errors.As(err, &since):
		return problem("invalid_value", since.Param, "%s must be the number of an event; 0 replays all", since.Param)
	case errors.As(err, &handshake) && handshake.Upgrade:
		return problem("upgrade_required", "Upgrade", "%s", handshake.Problem)
	case errors.As(err, &handshake):
		return problem("invalid_request", "", "%s", handshake.Problem)
	case errors.Is(err, live.ErrStopping):
		return problem("unavailable", "", "the server is stopping")
	case errors.Is(err, live.ErrTooManyStreams):
		return problem("busy", "", "too many streams are open")
	}
	return orNotFound(err, noOperation)
}
