package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
)

// rule is who may use a route.
type rule struct {
	public  bool        // everybody: it shows and changes nobody's data
	scopes  auth.Scopes // whoever has all of these; none: whoever passes the gate
	tickets bool        // a ticket passes too
}

// needs describes a route for those who have all of scopes; without any, for whoever passes the gate.
func needs(scopes auth.Scopes) []map[string][]string {
	return []map[string][]string{{"key": scopes.Names()}}
}

// withTickets marks a route that takes tickets.
const withTickets = "tickets"

// allow reads the rule of a route out of its description, which is the only place where it stands.
func (a *API) allow(pattern string, op huma.Operation) {
	for _, one := range op.Security {
		names, keyed := one["key"]
		scopes, err := auth.ParseScopes(names)
		if err != nil || len(op.Security) != 1 || len(one) > 1 {
			break // which check finds
		}
		a.rules[pattern] = rule{public: !keyed, scopes: scopes, tickets: op.Metadata[withTickets] == true}
	}
}

// checkRules refuses to begin with a route that nobody has thought about.
func (a *API) checkRules() error {
	for _, pattern := range a.routes {
		if _, ok := a.rules[pattern]; !ok {
			return fmt.Errorf("api: route %s does not say who may use it: give it Security", pattern)
		}
	}
	return nil
}

// authorise says who may pass to the route that r is for. Where no route is, one has to pass the gate to learn that.
func (a *API) authorise(w http.ResponseWriter, r *http.Request, c *call) error {
	_, pattern := a.mux.Handler(r)
	allowed := a.rules[pattern]
	if allowed.public {
		return nil
	}
	// A browser that has no key to show yet offers the subprotocol alone; whoever can set headers has no need of that.
	if allowed.tickets && a.cfg.Gate.Keyed() && strings.HasSuffix(pattern, "/ws") && !auth.Shows(r) &&
		strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		strings.EqualFold(r.Header.Get("Sec-Websocket-Protocol"), auth.Subprotocol) {
		c.unknown = true
		return nil
	}
	who, err := a.cfg.Gate.Authenticate(r, c.from, allowed.tickets)
	if err != nil {
		a.signInFailed(r.Context(), pattern, auth.Shows(r), err)
		return err
	}
	c.who = who
	if err := a.spend(w, r, who.Owner); err != nil {
		return err
	}
	if !who.May(allowed.scopes) {
		a.refused(r.Context(), pattern, "forbidden", who.Actor)
		return lacks(allowed.scopes)
	}
	return nil
}

// signInFailed writes down that what was shown did not open. What shows nothing is no sign-in, and what was not looked at
// is counted alone: whoever guesses must not fill the log.
func (a *API) signInFailed(ctx context.Context, route string, shown bool, err error) {
	var tooMany *auth.TooManyError
	switch {
	case errors.As(err, &tooMany):
		a.metrics.refused.WithLabelValues("too_many").Inc()
	case errors.Is(err, auth.ErrUnauthenticated) && shown:
		a.refused(ctx, route, "unauthenticated", "")
	}
}

// refused writes down a refusal. Never what was shown.
func (a *API) refused(ctx context.Context, route, code, actor string) {
	a.metrics.refused.WithLabelValues(code).Inc()
	a.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "refused", traced(ctx, slog.String("code", code), slog.String("request_id", requestID(ctx)),
		slog.String("route", route), slog.String("address", addressOf(ctx)), slog.String("actor", actor))...)
}

// spend takes a token of the owner's bucket and says in the answer how many are left
// (draft-ietf-httpapi-ratelimit-headers-10).
func (a *API) spend(w http.ResponseWriter, r *http.Request, owner string) error {
	if a.cfg.Limit == nil {
		return nil
	}
	d := a.cfg.Limit.Take(r.Context(), owner)
	h := w.Header()
	h.Set("Ratelimit-Policy", fmt.Sprintf(`"owner";q=%d`, d.Limit))
	h.Set("Ratelimit", fmt.Sprintf(`"owner";r=%d;t=%s`, d.Remaining, wholeSeconds(d.Reset)))
	if d.Allowed {
		return nil
	}
	p := problem("rate_limited", "", "too many requests: the next one is allowed in %s", d.RetryAfter.Round(time.Millisecond))
	p.header = http.Header{"Retry-After": {wholeSeconds(d.RetryAfter)}}
	return p
}

// wholeSeconds is a time in seconds, rounded up, as headers have it.
func wholeSeconds(t time.Duration) string {
	return strconv.FormatInt(int64((t+time.Second-1)/time.Second), 10)
}

// room refuses a new text of an owner who has as much as there may be.
func (a *API) room(ctx context.Context) error {
	if a.cfg.MaxStored == 0 {
		return nil
	}
	u, err := a.cfg.Store.Usage(ctx, owner(ctx))
	switch {
	case err != nil:
		return err
	case u.Bytes >= a.cfg.MaxStored:
		return problem("quota_exceeded", "", "there are %d bytes of texts, and there may be %d", u.Bytes, a.cfg.MaxStored).suggest("delete some documents")
	}
	return nil
}

// lacks says which scopes a request needs (RFC 6750, section 3.1).
func lacks(scopes auth.Scopes) *Problem {
	p := problem("forbidden", "Authorization", "this key may not do that: it needs the scope %s", strings.Join(scopes.Names(), " and "))
	p.header = http.Header{"Www-Authenticate": {`Bearer realm="chunkstream", error="insufficient_scope", scope="` +
		scopes.String() + `"`}}
	return p
}

// Access says for each pattern of Routes who may use it: "public", "any", or the scopes that are needed.
func (a *API) Access() map[string]string {
	all := map[string]string{}
	for _, pattern := range slices.Sorted(slices.Values(a.routes)) {
		switch r := a.rules[pattern]; {
		case r.public:
			all[pattern] = "public"
		case r.scopes == 0:
			all[pattern] = "any"
		default:
			all[pattern] = r.scopes.String()
		}
	}
	return all
}
