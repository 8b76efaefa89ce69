package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"chunkstream/auth"
	"chunkstream/event"
	"chunkstream/live"
	"chunkstream/store"
)

// stream guards one of the hub's four streams: the operation, if the path names one, must be the caller's.
func (a *API) stream(socket bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if socket {
			if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
				return problem("upgrade_required", "Upgrade",
					"this is a WebSocket (RFC 6455)")
			}
			if err := sameOrigin(r); err != nil {
				return err
			}
		}
		id := r.PathValue("id")
		var since int64
		var resume bool
		if id != "" {
			var err error
			if since, resume, err = live.ParseSince(r); err != nil {
				return streamError(err)
			}
		}
		if rec, ok := w.(*recorder); ok {
			rec.streams = true // the hub gives every write its own deadline
		}
		if r.Context().Value(callKey{}).(*call).unknown {
			return streamError(a.cfg.Hub.ServeWSLater(w, r, a.greet(r, id), id, since, resume))
		}
		who := principal(r.Context())
		if id == "" && who.Operation != "" {
			return problem("forbidden", "", "this ticket is for the events of one operation").suggest("ask for a ticket without operation_id")
		}
		if id != "" {
			if who.Operation != "" && who.Operation != id {
				return noOperation()
			}
			if !validID("op_", id) {
				return noOperation() // the hub reads whether it is there, once for all who ask at the same time
			}
		}
		viewer := viewerOf(who)
		var err error
		switch hub := a.cfg.Hub; {
		case socket && id == "":
			err = hub.ServeAllWS(w, r, viewer)
		case socket:
			err = hub.ServeOperationWS(w, r, viewer, id, since, resume)
		case id == "":
			err = hub.ServeAllSSE(w, r, viewer)
		default:
			err = hub.ServeOperationSSE(w, r, viewer, id, since, resume)
		}
		return streamError(err)
	}
}

// viewerOf is a principal as the hub knows it.
func viewerOf(who auth.Principal) live.Viewer {
	v := live.Viewer{Owner: who.Owner, Until: who.Until}
	if who.Session != (store.Standing{}) {
		v.Session = who.Session
	}
	return v
}

// greet reads the first message of a WebSocket that has shown nothing in its handshake: {"type":"auth","token":"…"}.
func (a *API) greet(r *http.Request, id string) func(context.Context, []byte) (live.Viewer, *live.Refusal) {
	no := &live.Refusal{Code: live.CloseAccess, Reason: "missing or wrong API key"}
	return func(ctx context.Context, message []byte) (live.Viewer, *live.Refusal) {
		f, err := objectFields("", message, []string{"type", "token"})
		if err != nil {
			return live.Viewer{}, no
		}
		kind, err1 := f.text("type")
		token, err2 := f.text("token")
		if err1 != nil || err2 != nil || kind != "auth" || token == "" {
			return live.Viewer{}, no
		}
		who, err := a.cfg.Gate.Identify(ctx, r.Context().Value(callKey{}).(*call).from, token, true)
		a.signInFailed(r.Context(), r.Pattern, true, err)
		var tooMany *auth.TooManyError
		switch {
		case errors.Is(err, auth.ErrUnauthenticated):
			return live.Viewer{}, no
		case errors.As(err, &tooMany):
			return live.Viewer{}, &live.Refusal{Code: live.CloseTryAgain, Reason: "too many failed sign-ins from this address: try again later"}
		case err != nil:
			return live.Viewer{}, &live.Refusal{Code: live.CloseTryAgain, Reason: "access cannot be decided now: try again later"}
		case !who.May(auth.OperationsRead):
			return live.Viewer{}, &live.Refusal{Code: live.CloseAccess, Reason: "the key needs the scope operations:read"}
		case who.Operation != "" && who.Operation != id:
			return live.Viewer{}, &live.Refusal{Code: live.CloseNotFound, Reason: "there is no such operation here"}
		}
		return viewerOf(who), nil
	}
}

// streamError says what the hub refused.
func streamError(err error) error {
	var (
		since     *live.SinceError
		handshake *live.HandshakeError
	)
	switch {
	case errors.As(err, &since):
		return problem("invalid_value", since.Param, "%s must be the number of an event", since.Param).
			suggest("use the id of the last event that arrived, 0 for all of them, or leave it out for the state now")
	case errors.As(err, &handshake) && handshake.Upgrade:
		return problem("upgrade_required", "Upgrade", "%s", handshake.Problem)
	case errors.As(err, &handshake):
		return problem("invalid_request", "", "%s", handshake.Problem)
	case errors.Is(err, live.ErrStopping):
		return problem("unavailable", "", "the server is stopping")
	case errors.Is(err, live.ErrOwnerStreams):
		return problem("rate_limited", "", "too many streams of this owner are open").suggest("close some, or follow all operations on one with /v1/events")
	case errors.Is(err, live.ErrTooManyStreams):
		return problem("busy", "", "too many streams are open")
	}
	return orNotFound(err, noOperation)
}

// LiveSource lets a hub read the truth without seeing the store. Any number of goroutines may use it at once.
func LiveSource(db *store.Store) live.Source {
	heads := func(hs []store.Head) map[string]int64 {
		m := make(map[string]int64, len(hs))
		for _, h := range hs {
			m[h.OperationID] = h.Seq
		}
		return m
	}
	return live.Source{
		Events: db.Events,
		Snapshot: func(ctx context.Context, owner, id string) (event.Event, error) {
			op, err := db.Operation(ctx, owner, id)
			if err != nil {
				return event.Event{}, err
			}
			return op.Snapshot(event.Snapshot, time.Now()), nil
		},
		Active: func(ctx context.Context, owner string) ([]event.Event, error) {
			ops, err := db.Active(ctx, owner)
			evs := make([]event.Event, len(ops))
			for i, op := range ops {
				evs[i] = op.Snapshot(event.Snapshot, time.Now())
			}
			return evs, err
		},
		Heads: func(ctx context.Context, ids []string) (map[string]int64, error) {
			hs, err := db.Heads(ctx, ids)
			return heads(hs), err
		},
		OwnerHeads: func(ctx context.Context, owner string, since time.Time) (map[string]int64, time.Time, error) {
			hs, now, err := db.OwnerHeads(ctx, owner, since)
			return heads(hs), now, err
		},
	}
}
