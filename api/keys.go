package api

import (
	"context"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
	"chunkstream/event"
	"chunkstream/store"
)

// Key is an API key as administrators see it.
type Key struct {
	ID         string      `json:"id" example:"key_0199c2f1a4c77d0e9f6b3a5d"`
	Owner      string      `json:"owner" doc:"Whose documents and operations it opens"`
	Name       string      `json:"name" doc:"For people; may be empty"`
	Hint       string      `json:"hint" doc:"How the key begins"`
	Scopes     []string    `json:"scopes"`
	CreatedBy  string      `json:"created_by"`
	CreatedAt  event.Time  `json:"created_at"`
	ExpiresAt  *event.Time `json:"expires_at" doc:"null: it does not expire"`
	LastUsedAt *event.Time `json:"last_used_at" doc:"To the minute; null: it was never used"`
	RevokedAt  *event.Time `json:"revoked_at" doc:"null: it is not revoked"`
}

// CreatedKey is the answer to POST /v1/keys, the only one that ever has the key itself.
type CreatedKey struct {
	Key
	Secret string `json:"key" doc:"The key. It is shown this once and is kept nowhere"`
}

// KeyPage is one page of keys, newest first.
type KeyPage struct {
	Data       []Key  `json:"data"`
	HasMore    bool   `json:"has_more"`
	NextCursor string `json:"next_cursor" doc:"Empty on the last page"`
}

// KeyBody is the body of POST /v1/keys.
type KeyBody struct {
	Owner     string   `json:"owner" doc:"Whose documents and operations it opens: 1 to 255 characters of printable ASCII without blanks"`
	Name      string   `json:"name,omitempty" maxLength:"255" doc:"For people"`
	Scopes    []string `json:"scopes,omitempty" doc:"What it may do; all but metrics:read and admin when left out"`
	ExpiresIn int64    `json:"expires_in,omitempty" minimum:"1" maximum:"315360000" doc:"Seconds from now until it ends; it does not when left out"`
}

// Block is who is refused whatever they show.
type Block struct {
	Kind      string     `json:"kind" enum:"owner,token"`
	Value     string     `json:"value" doc:"The owner, or the jti of the token"`
	Reason    string     `json:"reason"`
	CreatedBy string     `json:"created_by"`
	CreatedAt event.Time `json:"created_at"`
}

// BlockList is all blocks, newest first, at most 1000.
type BlockList struct {
	Data []Block `json:"data"`
}

// BlockBody is the body of POST /v1/blocks.
type BlockBody struct {
	Kind   string `json:"kind" enum:"owner,token"`
	Value  string `json:"value" doc:"The owner, or the jti of the token"`
	Reason string `json:"reason,omitempty" maxLength:"255"`
}

// AuditEntry is one act of an administrator.
type AuditEntry struct {
	Num       int64      `json:"num" doc:"From 1, in order"`
	At        event.Time `json:"at"`
	Actor     string     `json:"actor"`
	Action    string     `json:"action" example:"key.create"`
	Target    string     `json:"target"`
	Detail    string     `json:"detail"`
	Address   string     `json:"address" doc:"Where it came from, as the proxies say that are trusted; empty when not by HTTP"`
	RequestID string     `json:"request_id"`
}

// AuditPage is one page of the audit log, newest first.
type AuditPage struct {
	Data       []AuditEntry `json:"data"`
	HasMore    bool         `json:"has_more"`
	NextCursor string       `json:"next_cursor" doc:"Empty on the last page"`
}

// Me is who a request speaks for.
type Me struct {
	Owner     string      `json:"owner"`
	Scopes    []string    `json:"scopes"`
	ExpiresAt *event.Time `json:"expires_at" doc:"When what was shown ends by itself; null: never"`
}

// Ticket is the answer to POST /v1/tickets.
type Ticket struct {
	Ticket    string     `json:"ticket" doc:"Shown in place of a key, once, when a stream is opened"`
	ExpiresAt event.Time `json:"expires_at"`
}

// TicketBody is the body of POST /v1/tickets.
type TicketBody struct {
	OperationID string `json:"operation_id,omitempty" doc:"The only operation that it opens a stream of; all when left out"`
}

var accessTag = []string{"access"}

func (a *API) registerAccess() {
	admin := needs(auth.Admin)
	body := func(schema *huma.Schema, example any) *huma.RequestBody {
		return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema, Example: example}}}
	}
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/keys", OperationID: "createKey", Tags: accessTag, Security: admin,
		Summary: "Make an API key", Description: "The answer has the key, this once.",
		RequestBody: body(schemaOf[KeyBody](a), map[string]any{"owner": "search-team", "scopes": []any{"documents:read", "operations:read"}, "expires_in": 7776000}),
		Responses:   a.responses(http.StatusCreated, "The key", map[string]*huma.Schema{"application/json": schemaOf[CreatedKey](a)}),
	}, a.createKey)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/keys", OperationID: "listKeys", Tags: accessTag, Security: admin,
		Summary: "List API keys, newest first",
	}, a.listKeys)
	typed(a, huma.Operation{
		Method: "DELETE", Path: "/v1/keys/{id}", OperationID: "revokeKey", Tags: accessTag, Security: admin, DefaultStatus: http.StatusOK,
		Summary: "Revoke an API key", Description: "Within 5 s it opens nothing anywhere, and its streams are closed. It stays in the list.",
	}, a.revokeKey)
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/blocks", OperationID: "createBlock", Tags: accessTag, Security: admin,
		Summary:     "Refuse an owner, or one token of the identity provider",
		Description: "Within 5 s nothing that speaks for them passes anywhere, and their streams are closed.",
		RequestBody: body(schemaOf[BlockBody](a), map[string]any{"kind": "owner", "value": "search-team", "reason": "the laptop was stolen"}),
		Responses:   a.responses(http.StatusOK, "The block", map[string]*huma.Schema{"application/json": schemaOf[Block](a)}),
	}, a.createBlock)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/blocks", OperationID: "listBlocks", Tags: accessTag, Security: admin, Summary: "List who is refused",
	}, a.listBlocks)
	typed(a, huma.Operation{
		Method: "DELETE", Path: "/v1/blocks", OperationID: "deleteBlock", Tags: accessTag, Security: admin, Summary: "Let an owner or a token in again",
	}, a.deleteBlock)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/audit", OperationID: "listAudit", Tags: accessTag, Security: admin,
		Summary: "What administrators did, newest first",
	}, a.listAudit)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/me", OperationID: "me", Tags: accessTag, Security: needs(0), Summary: "Who this request speaks for",
	}, a.me)
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/tickets", OperationID: "createTicket", Tags: accessTag, Security: needs(auth.OperationsRead),
		Summary: "Make a ticket, which opens one stream",
		Description: "It is used up by its first use and ends after 30 s. It goes where a key goes and does not need to be kept " +
			"secret afterwards; the stream ends with the key that made the ticket.",
		RequestBody: body(schemaOf[TicketBody](a), map[string]any{}),
		Responses:   a.responses(http.StatusCreated, "The ticket", map[string]*huma.Schema{"application/json": schemaOf[Ticket](a)}),
	}, a.createTicket)
}

// maxBody bounds the small JSON bodies, in bytes.
const maxBody = 64 << 10

// act is who does something, for the audit log.
func act(ctx context.Context) store.Act {
	c := ctx.Value(callKey{}).(*call)
	return store.Act{Actor: c.who.Actor, Address: c.address(), Request: c.id}
}

func viewOfKey(k store.Key) Key {
	return Key{
		ID: k.ID, Owner: k.Owner, Name: k.Name, Hint: k.Hint, Scopes: append([]string{}, k.Scopes...), CreatedBy: k.CreatedBy,
		CreatedAt: event.Time{Time: k.CreatedAt}, ExpiresAt: instant(k.ExpiresAt), LastUsedAt: instant(k.LastUsedAt),
		RevokedAt: instant(k.RevokedAt),
	}
}

func (a *API) createKey(w http.ResponseWriter, r *http.Request) error {
	f, err := a.readJSON(w, r, maxBody, "owner", "name", "scopes", "expires_in")
	if err != nil {
		return err
	}
	if err := f.needs("owner"); err != nil {
		return err
	}
	owner, err := f.text("owner")
	if err != nil {
		return err
	}
	if auth.CheckOwner(owner) != nil {
		return f.wrong("owner", "1 to 255 characters of printable ASCII without blanks")
	}
	name, err := f.text("name")
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return err
	}
	names, err := f.texts("scopes", 1, len(auth.ScopeNames()))
	if err != nil {
		return err
	}
	scopes, err := auth.ParseScopes(names)
	if err != nil {
		return f.wrong("scopes", "names of scopes").suggest("choose from " + (auth.EveryDay | auth.MetricsRead | auth.Admin).String())
	}
	if names == nil {
		scopes = auth.EveryDay
	}
	seconds, err := f.whole("expires_in", 1, 315_360_000, 0)
	if err != nil {
		return err
	}
	key := auth.NewKey()
	made, err := a.cfg.Store.CreateKey(r.Context(), store.NewKey{
		Owner: owner, Name: name, Digest: auth.Digest(key), Hint: auth.Hint(key), Scopes: scopes.Names(),
		Expires: time.Duration(seconds) * time.Second,
	}, act(r.Context()))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusCreated, CreatedKey{viewOfKey(made), key})
	return nil
}

type (
	keysInput struct {
		Owner  string `query:"owner" maxLength:"255" doc:"Only this owner's"`
		Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
		Cursor string `query:"cursor" doc:"next_cursor of the page before"`
	}
	keysOutput struct {
		Body KeyPage
	}
	keyInput struct {
		ID string `path:"id" doc:"The key's id" example:"key_0199c2f1a4c77d0e9f6b3a5d"`
	}
	keyOutput struct {
		Body Key
	}
)

func (a *API) listKeys(ctx context.Context, in *keysInput) (*keysOutput, error) {
	before := ""
	if in.Cursor != "" {
		var ok bool
		if before, ok = openCursor("keys", in.Cursor); !ok || !validID("key_", before) {
			return nil, badCursor()
		}
	}
	keys, err := a.cfg.Store.Keys(ctx, in.Owner, before, in.Limit+1)
	if err != nil {
		return nil, orNotFound(err, badCursor)
	}
	page := KeyPage{Data: []Key{}, HasMore: len(keys) > in.Limit}
	for _, k := range keys[:min(len(keys), in.Limit)] {
		page.Data = append(page.Data, viewOfKey(k))
	}
	if page.HasMore {
		page.NextCursor = cursor("keys", page.Data[in.Limit-1].ID)
	}
	return &keysOutput{page}, nil
}

func (a *API) revokeKey(ctx context.Context, in *keyInput) (*keyOutput, error) {
	noKey := func() error { return missing("key", "/v1/keys") }
	if !validID("key_", in.ID) {
		return nil, noKey()
	}
	k, err := a.cfg.Store.RevokeKey(ctx, in.ID, act(ctx))
	a.cfg.Gate.Forget() // also when the outcome is not known
	if err != nil {
		return nil, orNotFound(err, noKey)
	}
	return &keyOutput{viewOfKey(k)}, nil
}

// checkBlock says what is wrong with a block's kind and value.
func checkBlock(kind, value string) error {
	if kind != "owner" && kind != "token" {
		return problem("invalid_value", "kind", "kind must be owner or token").suggest("use owner or token")
	}
	if value == "" || len(value) > 255 || !utf8.ValidString(value) {
		return problem("invalid_value", "value", "value must have 1 to 255 bytes").suggest("give the owner, or the jti of the token")
	}
	for _, r := range value {
		if r < ' ' || r == 0x7f {
			return problem("invalid_value", "value", "value may not have control characters").suggest("give the owner, or the jti of the token")
		}
	}
	return nil
}

func (a *API) createBlock(w http.ResponseWriter, r *http.Request) error {
	f, err := a.readJSON(w, r, maxBody, "kind", "value", "reason")
	if err != nil {
		return err
	}
	if err := f.needs("kind", "value"); err != nil {
		return err
	}
	var text [3]string
	for i, name := range []string{"kind", "value", "reason"} {
		if text[i], err = f.text(name); err != nil {
			return err
		}
	}
	if err := checkBlock(text[0], text[1]); err != nil {
		return err
	}
	if err := checkName(text[2]); err != nil {
		return f.wrong("reason", "at most 255 characters without control characters")
	}
	b, err := a.cfg.Store.Block(r.Context(), text[0], text[1], text[2], act(r.Context()))
	a.cfg.Gate.Forget()
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, viewOfBlock(b))
	return nil
}

func viewOfBlock(b store.Block) Block {
	return Block{b.Kind, b.Value, b.Reason, b.CreatedBy, event.Time{Time: b.CreatedAt}}
}

type (
	blocksOutput struct {
		Body BlockList
	}
	blockInput struct {
		Kind  string `query:"kind" enum:"owner,token" required:"true" doc:"What is blocked"`
		Value string `query:"value" required:"true" maxLength:"255" doc:"The owner, or the jti of the token"`
	}
)

func (a *API) listBlocks(ctx context.Context, _ *struct{}) (*blocksOutput, error) {
	all, err := a.cfg.Store.Blocks(ctx)
	if err != nil {
		return nil, err
	}
	out := &blocksOutput{BlockList{[]Block{}}}
	for _, b := range all {
		out.Body.Data = append(out.Body.Data, viewOfBlock(b))
	}
	return out, nil
}

func (a *API) deleteBlock(ctx context.Context, in *blockInput) (*struct{}, error) {
	if err := checkBlock(in.Kind, in.Value); err != nil {
		return nil, err
	}
	err := a.cfg.Store.Unblock(ctx, in.Kind, in.Value, act(ctx))
	a.cfg.Gate.Forget()
	return nil, orNotFound(err, func() error {
		return problem("not_found", "value", "that is not blocked").suggest("look it up with GET /v1/blocks")
	})
}

type (
	auditInput struct {
		Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
		Cursor string `query:"cursor" doc:"next_cursor of the page before"`
	}
	auditOutput struct {
		Body AuditPage
	}
)

func (a *API) listAudit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	before := int64(0)
	if in.Cursor != "" {
		place, ok := openCursor("audit", in.Cursor)
		n, err := strconv.ParseInt(place, 10, 64)
		if before = n; !ok || err != nil || n < 1 {
			return nil, badCursor()
		}
	}
	entries, err := a.cfg.Store.Audit(ctx, before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	page := AuditPage{Data: []AuditEntry{}, HasMore: len(entries) > in.Limit}
	for _, e := range entries[:min(len(entries), in.Limit)] {
		page.Data = append(page.Data, AuditEntry{e.Num, event.Time{Time: e.At}, e.Actor, e.Action, e.Target, e.Detail, e.Address, e.Request})
	}
	if page.HasMore {
		page.NextCursor = cursor("audit", strconv.FormatInt(page.Data[in.Limit-1].Num, 10))
	}
	return &auditOutput{page}, nil
}

type meOutput struct {
	Body Me
}

func (a *API) me(ctx context.Context, _ *struct{}) (*meOutput, error) {
	who := principal(ctx)
	return &meOutput{Me{who.Owner, who.Scopes.Names(), instant(who.Until)}}, nil
}

func (a *API) createTicket(w http.ResponseWriter, r *http.Request) error {
	f, err := a.readJSON(w, r, maxBody, "operation_id")
	if err != nil {
		return err
	}
	id, err := f.text("operation_id")
	if err != nil {
		return err
	}
	if f.has("operation_id") {
		if _, err := a.operation(r.Context(), id); err != nil {
			return orNotFound(err, func() error {
				return problem("not_found", "operation_id", "there is no such operation here").suggest("look it up with GET /v1/operations")
			})
		}
	}
	if !a.cfg.Gate.Keyed() {
		return problem("invalid_request", "", "nothing has to be shown here, so tickets are not needed").suggest("open the stream without one")
	}
	ticket, ends, err := a.cfg.Gate.Ticket(r.Context(), principal(r.Context()), id)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusCreated, Ticket{ticket, event.Time{Time: ends}})
	return nil
}
